"""The record of an evaluation: results, flags, and views of them."""

import base64
import dataclasses
import json
import math
import statistics

import numpy as np

from keras_gce.errors import InputError

__all__ = ["AttackResult", "Flag", "RobustnessReport"]

SCHEMA_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What one attack, ascending one loss, did to all examples.

    Args:
        name: The attack.
        engine: The library that ran it: "keras_gce" or "cleverhans".
        loss: What it ascended; `None` for an attack with an objective of its own.
        eps: Radius of the ball, in units of the images.
        norm: The norm of the ball.
        n_examples: Number of examples evaluated.
        clean_accuracy: Share of them that is right before the attack.
        robust_accuracy: Share of them that is right before and after it.
        success_rate: Share, of the examples right before, that reached the attack's
            goal: its target class, where it has one, or else any wrong class; `None`
            where none was right before.
        mean_l2: Mean l2 distance of the successes from their images; `None` where
            there is none.
        max_linf: Greatest change of a pixel over all attacked examples.
        seconds: Time that the attack took, compilation included.
        settings: All settings of the attack.
        median_l2: The median of the same distances.
        mean_l0: Mean number of features (a pixel's channel each) that the successes
            changed.
        ensemble: Name of the ensemble, such as "AutoAttack", whose row this is: of its
            rows each attacks what those before it left right, and says what is left
            then. `None` for an attack of its own.
    """

    name: str
    engine: str
    loss: str | None
    eps: float | None
    norm: str | None
    n_examples: int
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float | None
    mean_l2: float | None
    max_linf: float
    seconds: float
    settings: dict
    median_l2: float | None = None
    mean_l0: float | None = None
    ensemble: str | None = None

    @property
    def budget(self):
        """Text: what bounds the attack, its eps or JSMA's gamma; "" for neither."""
        if self.eps is not None:
            return f"{self.eps:g}"
        gamma = self.settings.get("gamma")
        return "" if gamma is None else f"gamma {gamma:g}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A sign that a robust accuracy may be higher than the robustness, or its absence.

    Args:
        name: What was looked for.
        value: What was measured.
        threshold: The value above which the flag is raised.
        message: What was seen, what it usually means, what to run next.
        reference: Where the sign is described.
    """

    name: str
    value: float
    threshold: float
    message: str
    reference: str = ""

    @property
    def raised(self):
        """Whether the value is above the threshold."""
        return self.value > self.threshold


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RobustnessReport:
    """What `evaluate` returns.

    Args:
        model: Name of the model.
        threat_model: Name of the threat model, or `None`.
        results: List of `AttackResult`, one for each attack and loss.
        clean: Boolean array: which examples are right before any attack.
        row_robust: Boolean array of shape `(rows, N)`: which are right after each.
        checks: List of `Flag`: the signs that were looked for, raised or not.
        worst_case_only: Whether each row attacked only what the rows before it left.
        versions: Versions of the libraries.
    """

    model: str
    threat_model: str | None
    results: list
    clean: np.ndarray
    row_robust: np.ndarray
    checks: list = dataclasses.field(default_factory=list)
    worst_case_only: bool = False
    versions: dict = dataclasses.field(default_factory=dict)

    @property
    def flags(self):
        """The checks that are raised."""
        return [flag for flag in self.checks if flag.raised]

    @property
    def robust(self):
        """Boolean array: which examples are right before and after every attack."""
        return self.clean & self.row_robust.all(axis=0)

    @property
    def clean_accuracy(self):
        """Share of the examples that is right before any attack."""
        return float(self.clean.mean())

    @property
    def worst_case_accuracy(self):
        """Share of the examples that is right before and after every attack."""
        return float(self.robust.mean())

    def confidence_interval(self, level=0.95):
        """Returns what the worst-case accuracy may be on all images like these.

        Args:
            level: Confidence, in (0, 1). Defaults to 0.95.

        Returns:
            The least and the greatest share: Wilson's score interval for the number of
            examples evaluated.

        Reference:
            Wilson, "Probable Inference, the Law of Succession, and Statistical
            Inference", JASA 1927.
        """
        if not 0 < level < 1:
            raise InputError(f"`level` must lie in (0, 1). Received: level={level}")
        z, n = statistics.NormalDist().inv_cdf((1 + level) / 2), len(self.clean)
        share = self.worst_case_accuracy
        middle = share + z**2 / (2 * n)
        half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
        return max(low, 0.0), min(high, 1.0)

    def worst_over_losses(self):
        """Returns the accuracy under each attack, per example the worst of its losses.

        Returns:
            Dict of (name, norm, budget) -> share of the examples that is right
            whichever loss the attack ascends.
        """
        groups = {}
        for result, robust in zip(self.results, self.row_robust, strict=True):
            key = (result.name, result.norm, result.budget)
            groups[key] = groups.get(key, self.clean) & robust
        return {key: float(robust.mean()) for key, robust in groups.items()}

    def to_dict(self):
        """Returns the report as a dict of what JSON can hold."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "threat_model": self.threat_model,
            "worst_case_only": self.worst_case_only,
            "n_examples": len(self.clean),
            "clean_accuracy": self.clean_accuracy,
            "worst_case_accuracy": self.worst_case_accuracy,
            "results": [dataclasses.asdict(result) for result in self.results],
            "checks": [dataclasses.asdict(flag) for flag in self.checks],
            "versions": self.versions,
            "clean": _pack(self.clean),
            "row_robust": [_pack(row) for row in self.row_robust],
        }

    def to_json(self):
        """Returns the report as JSON, which `from_json` reads."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text):
        """Reads what `to_json` returned, or an older version of it.

        Raises:
            InputError: If `text` is no report of a schema version known here.
        """
        try:
            data = json.loads(text)
            version = data["schema_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"`text` must be the JSON of a report. Received: {text[:60]!r}"
            ) from error
        if version not in range(1, SCHEMA_VERSION + 1):
            raise InputError(
                f"`text` must be a report of schema version 1 to {SCHEMA_VERSION}. "
                f"Received: schema_version={version}"
            )
        n = data["n_examples"]
        rows = [_unpack(row, n) for row in data["row_robust"]]
        return cls(
            model=data["model"],
            threat_model=data["threat_model"],
            results=[AttackResult(**result) for result in data["results"]],
            clean=_unpack(data["clean"], n),
            row_robust=np.array(rows, bool).reshape(len(rows), n),
            # Version 1 had the raised ones alone.
            checks=[Flag(**flag) for flag in data.get("checks", data.get("flags"))],
            worst_case_only=data["worst_case_only"],
            versions=data["versions"],
        )

    def to_dataframe(self):
        """Returns the results as a pandas DataFrame, a row for each."""
        try:
            import pandas
        except ImportError as error:
            raise InputError(
                "`to_dataframe` must have pandas installed: pip install pandas"
            ) from error
        return pandas.DataFrame([dataclasses.asdict(row) for row in self.results])

    def to_markdown(self):
        """Returns the report as Markdown: a summary, the flags, a table."""
        low, high = self.confidence_interval()
        flags = ", ".join(flag.name for flag in self.flags) or "none"
        accuracy = "accuracy left %" if self.worst_case_only else "robust accuracy %"
        lines = [
            f"{self.model}: clean accuracy {_percent(self.clean_accuracy)}%, "
            f"robust in the worst case {_percent(self.worst_case_accuracy)}% "
            f"(95% interval {_percent(low)} to {_percent(high)}%, {len(self.clean)} "
            f"examples). Threat model: {self.threat_model or 'none named'}. "
            f"Flags: {flags}.",
            "",
            *(f"- Flag {flag.name}: {flag.message}" for flag in self.flags),
            *([""] if self.flags else []),
            f"| attack | eps | norm | loss | engine | {accuracy} | success % | "
            "mean l0 | mean l2 | median l2 | seconds |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in self.results:
            cells = (
                f"{row.ensemble}: {row.name}" if row.ensemble else row.name,
                row.budget or "–",
                row.norm or "–",
                row.loss or "own",
                row.engine,
                _percent(row.robust_accuracy),
                "–" if row.success_rate is None else _percent(row.success_rate),
                "–" if row.mean_l0 is None else f"{row.mean_l0:.0f}",
                "–" if row.mean_l2 is None else f"{row.mean_l2:.3f}",
                "–" if row.median_l2 is None else f"{row.median_l2:.3f}",
                f"{row.seconds:.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def _percent(share):
    return f"{100 * share:.2f}"


def _pack(bits):
    return base64.b64encode(np.packbits(np.asarray(bits, bool))).decode()


def _unpack(text, n):
    packed = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(packed, count=n).astype(bool)

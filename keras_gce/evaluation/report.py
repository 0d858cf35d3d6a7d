"""The record of an evaluation, and views of it."""

import base64
import dataclasses
import json
import math

import numpy as np

from keras_gce.errors import InputError
from keras_gce.evaluation.intervals import wilson_interval
from keras_gce.evaluation.results import AttackResult, Curve, Flag, GalleryExample
from keras_gce.evaluation.sanity import FIRST

__all__ = ["RobustnessReport"]

SCHEMA_VERSION = 3
IMAGES = ("clean", "adversarial", "difference")


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
        skipped: List of text: attacks that could not run here, and why.
        labels: Integers of shape `(N,)`, the classes; `None` in a report of schema
            version 1.
        class_names: List of the names of the classes, or `None`.
        data: A digest of the images and labels, or `None`.
        curves: List of `Curve`; see `accuracy_curves`.
        gallery: List of `GalleryExample`.
        setup: Dict of text: the hardware, the date and, from the command line, the
            command.
    """

    model: str
    threat_model: str | None
    results: list
    clean: np.ndarray
    row_robust: np.ndarray
    checks: list = dataclasses.field(default_factory=list)
    worst_case_only: bool = False
    versions: dict = dataclasses.field(default_factory=dict)
    skipped: list = dataclasses.field(default_factory=list)
    labels: np.ndarray | None = None
    class_names: list | None = None
    data: str | None = None
    curves: list = dataclasses.field(default_factory=list)
    gallery: list = dataclasses.field(default_factory=list)
    setup: dict = dataclasses.field(default_factory=dict)

    @property
    def flags(self):
        """The checks that are raised."""
        return [flag for flag in self.checks if flag.raised]

    @property
    def first_words(self):
        """List of text: what has to be known before any figure is read."""
        return [flag.message for flag in self.flags if flag.name in FIRST]

    @property
    def has_radius(self):
        """Whether any attack has a radius, so that the worst case is that of one."""
        return any(result.eps is not None for result in self.results)

    @property
    def robust(self):
        """Boolean array: which examples are right before and after every attack.

        An attack without a radius (JSMA, C&W) has no say in what is left within one: it
        counts only where there is no other.
        """
        rows = self.row_robust
        if self.has_radius:
            rows = rows[[result.eps is not None for result in self.results]]
        return self.clean & rows.all(axis=0)

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
            examples evaluated; see `wilson_interval`.
        """
        return wilson_interval(self.worst_case_accuracy, len(self.clean), level)

    def per_class(self):
        """Returns the accuracies of each class that occurs.

        Returns:
            Dict of the class's name, or its number as text, -> dict of "n_examples",
            "clean_accuracy" and "worst_case_accuracy".

        Raises:
            InputError: If the report has no labels.
        """
        if self.labels is None:
            raise InputError(
                "`per_class` must have a report with labels. Received: one of schema "
                "version 1, which had none"
            )
        rows = {}
        for label in np.unique(self.labels):
            chosen = self.labels == label
            rows[self.class_name(label)] = {
                "n_examples": int(chosen.sum()),
                "clean_accuracy": float(self.clean[chosen].mean()),
                "worst_case_accuracy": float(self.robust[chosen].mean()),
            }
        return rows

    def class_name(self, label):
        """Returns the name of a class, or its number as text."""
        return str(self.class_names[label] if self.class_names else label)

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
            "confidence_interval": list(self.confidence_interval()),
            "flags": [flag.name for flag in self.flags],
            "checks": [
                dataclasses.asdict(flag) | {"raised": flag.raised}
                for flag in self.checks
            ],
            "versions": self.versions,
            "skipped": self.skipped,
            "clean": _pack(self.clean),
            "row_robust": [_pack(row) for row in self.row_robust],
            "labels": None if self.labels is None else _pack_array(self.labels),
            "class_names": self.class_names,
            "data": self.data,
            "curves": [dataclasses.asdict(curve) for curve in self.curves],
            "gallery": [
                {
                    name: _pack_array(value) if name in IMAGES else value
                    for name, value in vars(example).items()
                }
                for example in self.gallery
            ],
            "setup": self.setup,
        }

    def to_json(self):
        """Returns the report as JSON, which `from_json` reads."""
        return json.dumps(_strict(self.to_dict()), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text):
        """Reads what `to_json` returned, or an older version of it.

        Raises:
            InputError: If `text` is no report of a schema version known here.
        """
        try:
            data = json.loads(text)
            version = data["schema_version"]
            if version in range(1, SCHEMA_VERSION + 1):
                return cls(**_fields(data))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                "`text` must be the JSON of a report, whole. "
                f"Received: {text[:60]!r} ({type(error).__name__}: {error})"
            ) from error
        raise InputError(
            f"`text` must be a report of schema version 1 to {SCHEMA_VERSION}. "
            f"Received: schema_version={version}"
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

    def to_html(self):
        """Returns the report as one self-contained HTML page, with charts.

        Raises:
            InputError: If Jinja or Pillow is not installed.
        """
        from keras_gce.evaluation.page import page

        return page(self)

    def to_markdown(self):
        """Returns the report as Markdown: a summary, the flags, a table."""
        low, high = self.confidence_interval()
        flags = ", ".join(flag.name for flag in self.flags) or "none"
        signs = [flag for flag in self.flags if flag.name not in FIRST]
        worst = "robust in the worst case"
        if not self.has_radius:
            worst = "without a radius, so no robust accuracy: attacks leave"
        accuracy = "accuracy left %" if self.worst_case_only else "robust accuracy %"
        lines = [
            f"{self.model}: clean accuracy {_percent(self.clean_accuracy)}%, "
            f"{worst} {_percent(self.worst_case_accuracy)}% "
            f"(95% interval {_percent(low)} to {_percent(high)}%, {len(self.clean)} "
            f"examples). Threat model: {self.threat_model or 'none named'}. "
            f"Flags: {flags}."
            + "".join(f" Mind: {text}." for text in self.first_words),
            "",
            *(f"- Flag {flag.name}: {flag.message}" for flag in signs),
            *(f"- Skipped: {text}" for text in self.skipped),
            *(
                [""]
                if set(f.name for f in self.flags) - set(FIRST) or self.skipped
                else []
            ),
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


def _fields(data):
    """Returns the arguments of a report from what `to_dict` returned."""
    n = data["n_examples"]
    rows = [_unpack(row, n) for row in data["row_robust"]]
    labels = data.get("labels")
    return {
        "model": data["model"],
        "threat_model": data["threat_model"],
        "results": [AttackResult(**result) for result in data["results"]],
        "clean": _unpack(data["clean"], n),
        "row_robust": np.array(rows, bool).reshape(len(rows), n),
        "checks": [_flag(flag) for flag in data.get("checks", data.get("flags"))],
        "worst_case_only": data["worst_case_only"],
        "versions": data["versions"],
        "skipped": data.get("skipped", []),
        "labels": labels and _unpack_array(labels),
        "class_names": data.get("class_names"),
        "data": data.get("data"),
        "curves": [Curve(**curve) for curve in data.get("curves", [])],
        "gallery": [
            GalleryExample(
                **{
                    name: _unpack_array(value) if name in IMAGES else value
                    for name, value in example.items()
                }
            )
            for example in data.get("gallery", [])
        ],
        "setup": data.get("setup", {}),
    }


def _flag(data):
    # Version 1 had the raised ones alone, version 3 says which are.
    return Flag(**{name: value for name, value in data.items() if name != "raised"})


def _strict(value):
    """Returns what JSON can hold, without the NaN and Infinity that it can't."""
    if isinstance(value, dict):
        return {key: _strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _percent(share):
    return f"{100 * share:.2f}"


def _pack(bits):
    return base64.b64encode(np.packbits(np.asarray(bits, bool))).decode()


def _unpack(text, n):
    packed = np.frombuffer(base64.b64decode(text), np.uint8)
    if len(packed) != -(-n // 8):
        raise ValueError(f"{len(packed)} bytes for {n} examples")
    return np.unpackbits(packed, count=n).astype(bool)


def _pack_array(array):
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "base64": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


def _unpack_array(packed):
    flat = np.frombuffer(base64.b64decode(packed["base64"]), packed["dtype"])
    return flat.reshape(packed["shape"])

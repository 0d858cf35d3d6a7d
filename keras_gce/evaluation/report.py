"""The record of an evaluation, and views of it."""

import dataclasses
import json
from typing import Any

import numpy as np

from keras_gce.errors import InputError, one_line
from keras_gce.evaluation.adversarial import AdversarialExamples
from keras_gce.evaluation.advice import not_tried
from keras_gce.evaluation.exports import as_csv, as_latex
from keras_gce.evaluation.intervals import wilson_interval
from keras_gce.evaluation.markdown import markdown
from keras_gce.evaluation.page import page
from keras_gce.evaluation.results import (
    AttackResult,
    Curve,
    Flag,
    GalleryExample,
    Part,
    WorstCase,
)
from keras_gce.evaluation.robustbench import as_robustbench
from keras_gce.evaluation.sanity import FIRST
from keras_gce.evaluation.schema import (
    SCHEMA_VERSION,
    as_dict,
    check,
    fields_of,
    no_constant,
    strict,
)

__all__ = ["RobustnessReport"]


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
        data: A digest of the images and labels, or `None`; of a part that of the whole
            test set.
        curves: List of `Curve`; see `accuracy_curves`.
        gallery: List of `GalleryExample`.
        setup: Dict of text: the hardware, the date and, from the command line, the
            command, the model's file and the dataset ("command", "model", "dataset").
        adversarial: What broke each image, where it was kept; not in the JSON. `None`
            elsewhere.
        part: Which part of the test set it is of, alone; see `merge`. `None`: all of
            it.
    """

    model: str
    threat_model: str | None
    results: list[AttackResult]
    clean: np.ndarray
    row_robust: np.ndarray
    checks: list[Flag] = dataclasses.field(default_factory=list)
    worst_case_only: bool = False
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: list[str] = dataclasses.field(default_factory=list)
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    data: str | None = None
    curves: list[Curve] = dataclasses.field(default_factory=list)
    gallery: list[GalleryExample] = dataclasses.field(default_factory=list)
    setup: dict[str, str] = dataclasses.field(default_factory=dict)
    adversarial: AdversarialExamples | None = None
    part: Part | None = None

    @property
    def flags(self) -> list[Flag]:
        """The checks that are raised."""
        return [flag for flag in self.checks if flag.raised]

    @property
    def first_words(self) -> list[str]:
        """List of text: what has to be known before any figure is read."""
        return [flag.message for flag in self.flags if flag.name in FIRST]

    @property
    def not_tried(self) -> list[str]:
        """List of text: what to run next, where much is robust and no flag is raised.

        Empty where less than half of the clean accuracy is left.
        """
        return not_tried(self)

    @property
    def has_radius(self) -> bool:
        """Whether any attack has a radius, so that the worst case is that of one."""
        return any(result.eps is not None for result in self.results)

    @property
    def robust(self) -> np.ndarray:
        """Boolean array: which examples are right before and after every attack.

        An attack without a radius (JSMA, C&W, FMN) has no say in what is left within
        one: it counts only where there is no other.
        """
        rows = self.row_robust
        if self.has_radius:
            rows = rows[[result.eps is not None for result in self.results]]
        return self.clean & rows.all(axis=0)

    @property
    def clean_accuracy(self) -> float:
        """Share of the examples that is right before any attack."""
        return float(self.clean.mean())

    @property
    def worst_case_accuracy(self) -> float:
        """Share of the examples that is right before and after every attack."""
        return float(self.robust.mean())

    def confidence_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns what the worst-case accuracy may be on all images like these.

        Args:
            level: Confidence, in (0, 1). Defaults to 0.95.

        Returns:
            The least and the greatest share: Wilson's score interval for the number of
            examples evaluated; see `wilson_interval`.
        """
        return wilson_interval(self.worst_case_accuracy, len(self.clean), level)

    @property
    def worst_case_curves(self) -> list[Curve]:
        """List of `Curve`, one for each norm: what all attacks together leave.

        An example that falls within a ball has fallen within every larger one. The
        first point, at eps 0, is the clean accuracy. Empty where no attack has a
        radius.
        """
        balls = sorted({(row.norm or "", row.eps) for row in self.results if row.eps})
        curves = []
        for norm in dict.fromkeys(norm for norm, _ in balls):
            radii = [eps for other, eps in balls if other == norm and eps is not None]
            left, accuracy = self.clean, [self.clean_accuracy]
            for radius in radii:
                inside = [(row.norm, row.eps) == (norm, radius) for row in self.results]
                left = left & self.row_robust[inside].all(axis=0)
                accuracy.append(float(left.mean()))
            curves.append(
                Curve(
                    threat_model=self.threat_model or "",
                    attack="all attacks",
                    norm=norm,
                    eps=[0.0, *radii],
                    accuracy=accuracy,
                    n_examples=len(self.clean),
                )
            )
        return curves

    @property
    def worst_cases(self) -> list[WorstCase]:
        """List of `WorstCase`, one for each norm and radius: the curves' points."""
        return [
            WorstCase(
                norm=curve.norm, eps=eps, accuracy=share, confidence_interval=interval
            )
            for curve in self.worst_case_curves
            for eps, share, interval in zip(
                curve.eps, curve.accuracy, curve.intervals(), strict=True
            )
            if eps
        ]

    def per_class(self) -> dict[str, dict[str, Any]]:
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

    def class_name(self, label: int) -> str:
        """Returns the name of a class, or its number as text."""
        return str(self.class_names[label] if self.class_names else label)

    def worst_over_losses(self) -> dict[tuple[str, str | None, str], float]:
        """Returns the accuracy under each attack, per example the worst of its losses.

        Returns:
            Dict of (name, norm, budget) -> share of the examples that is right
            whichever loss the attack ascends.
        """
        groups: dict[tuple[str, str | None, str], np.ndarray] = {}
        for result, robust in zip(self.results, self.row_robust, strict=True):
            key = (result.name, result.norm, result.budget)
            groups[key] = groups.get(key, self.clean) & robust
        return {key: float(robust.mean()) for key, robust in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as a dict of what JSON can hold."""
        return as_dict(self)

    def to_json(self) -> str:
        """Returns the report as JSON, which `from_json` reads."""
        return json.dumps(strict(self.to_dict()), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "RobustnessReport":
        """Reads what `to_json` returned, or an older version of it.

        Raises:
            InputError: If `text` is no report of a schema version known here.
        """
        try:
            data = json.loads(text, parse_constant=no_constant)
            version = data["schema_version"]
            if version in range(1, SCHEMA_VERSION + 1):
                report = cls(**fields_of(data))
                check(report.to_dict())
                return report
        except Exception as error:  # What damaged figures raise, wherever they are met.
            raise InputError(
                "`text` must be the JSON of a report, whole. "
                f"Received: {text[:60]!r} ({one_line(error, 200)})"
            ) from error
        raise InputError(
            f"`text` must be a report of schema version 1 to {SCHEMA_VERSION}. "
            f"Received: schema_version={version!r}"
        )

    def to_dataframe(self) -> Any:
        """Returns the results as a pandas DataFrame, a row for each."""
        try:
            import pandas
        except ImportError as error:
            raise InputError(
                "`to_dataframe` must have pandas installed: pip install pandas"
            ) from error
        return pandas.DataFrame([dataclasses.asdict(row) for row in self.results])

    def to_csv(self) -> str:
        """Returns the results as CSV, accuracies as fractions; see `results`.

        A row for each, and one named "worst case" for each radius. `low` and `high` are
        the ends of the 95% interval of `robust_accuracy`.
        """
        return as_csv(self)

    def to_latex(self) -> str:
        """Returns the results as a LaTeX table (booktabs), with a citation."""
        return as_latex(self)

    def to_robustbench(self, dataset: str = "cifar10", **entry: Any) -> str:
        """Returns the model's entry of RobustBench's leaderboard: its JSON.

        Args:
            dataset: `"cifar10"` or `"cifar100"`. Defaults to `"cifar10"`.
            **entry: What a report doesn't know, such as `name`; see
                `keras_gce.evaluation.robustbench.as_robustbench`.

        Raises:
            InputError: If the report is not what RobustBench takes; it says why.
        """
        return as_robustbench(self, dataset, **entry)

    def to_html(self) -> str:
        """Returns the report as one self-contained HTML page, with charts.

        Raises:
            InputError: If Jinja or Pillow is not installed.
        """
        return page(self)

    def to_markdown(self) -> str:
        """Returns the report as Markdown: a summary, the flags, a table."""
        return markdown(self)

"""`compare`: two reports on the same images."""

import dataclasses
from typing import Any

from keras_gce.errors import InputError
from keras_gce.evaluation.intervals import mcnemar
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.words import ball_text, budget_text, cell, title

__all__ = ["Comparison", "compare"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` returns.

    Args:
        a, b: Names of the models, or of their files where these are known.
        accuracy_a, accuracy_b: Their worst-case accuracies.
        n_examples: Number of examples.
        only_a: Number of examples on which a alone is robust.
        only_b: Number of examples on which b alone is robust.
        p_value: Of the exact two-sided McNemar test.
        same_attacks: Whether both were attacked alike.
        same_images: Whether both are known to be on the same images.
        rows: Tuple of (what was attacked with, accuracy of a, accuracy of b), the clean
            accuracies first; `None` for an attack that only the other had.
    """

    a: str
    b: str
    accuracy_a: float
    accuracy_b: float
    n_examples: int
    only_a: int
    only_b: int
    p_value: float
    same_attacks: bool
    same_images: bool = True
    rows: tuple[tuple[str, float | None, float | None], ...] = ()

    @property
    def difference(self) -> float:
        """Worst-case accuracy of a less that of b."""
        return self.accuracy_a - self.accuracy_b

    def to_markdown(self) -> str:
        """Returns the comparison as Markdown: the test, and the rows side by side."""
        lines = [
            f"{self.a}: {self.accuracy_a:.2%} robust in the worst case, {self.b}: "
            f"{self.accuracy_b:.2%}, a difference of {100 * self.difference:+.2f} "
            f"points on {self.n_examples} examples.",
            f"{self.a} alone is robust on {self.only_a} of them, {self.b} alone on "
            f"{self.only_b}: p = {self.p_value:.2g} (exact McNemar test).",
        ]
        if not self.same_attacks:
            lines.append(
                "They were attacked differently: the difference is that of the "
                "attacks, too."
            )
        if not self.same_images:
            lines.append(
                "One of the reports does not say which images it is of: whether they "
                "are the same is not known."
            )
        lines += [
            "",
            f"| accuracy % | {cell(self.a)} | {cell(self.b)} |",
            "|---|---|---|",
        ]
        for name, *accuracies in self.rows:
            cells = ["–" if a is None else f"{100 * a:.2f}" for a in accuracies]
            lines.append(f"| {cell(name)} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def compare(report_a: RobustnessReport, report_b: RobustnessReport) -> Comparison:
    """Compares the worst cases of two reports, example by example.

    Example:

    >>> import keras, numpy as np
    >>> from keras_gce.attacks import FGSM
    >>> from keras_gce.evaluation import evaluate
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> data = np.full((9, 4), 0.5, "float32"), np.zeros(9, int)
    >>> a = evaluate(model, data, FGSM(eps=0.1), "crossentropy", progress=False)
    >>> compare(a, a).p_value
    1.0

    Args:
        report_a: A `RobustnessReport`.
        report_b: Another one, on the same images in the same order.

    Returns:
        A `Comparison`.

    Raises:
        InputError: If the images are not the same.
    """
    n_a, n_b = len(report_a.clean), len(report_b.clean)
    if _places(report_a) != _places(report_b):
        raise InputError(
            "`report_a` and `report_b` must be of all images, or of the same part of "
            f"them. Received: {title(report_a)} and {title(report_b)}"
        )
    # Reports of schema version 1 do not know their images.
    data_a, data_b = report_a.data, report_b.data
    if n_a != n_b or (data_a and data_b and data_a != data_b):
        raise InputError(
            "`report_a` and `report_b` must be on the same images in the same order. "
            f"Received: {n_a} images (digest {data_a}) and {n_b} (digest {data_b})"
        )
    a, b = title(report_a), title(report_b)
    if a == b:
        a, b = f"{a} (A)", f"{b} (B)"
    robust_a, robust_b = report_a.robust, report_b.robust
    only_a = int((robust_a & ~robust_b).sum())
    only_b = int((robust_b & ~robust_a).sum())
    return Comparison(
        a=a,
        b=b,
        accuracy_a=report_a.worst_case_accuracy,
        accuracy_b=report_b.worst_case_accuracy,
        n_examples=len(robust_a),
        only_a=only_a,
        only_b=only_b,
        p_value=mcnemar(only_a, only_b),
        same_attacks=_attacks(report_a) == _attacks(report_b),
        same_images=bool(data_a and data_b),
        rows=tuple(_rows(report_a, report_b)),
    )


def _places(report: RobustnessReport) -> list[int] | None:
    """Which of all images a report of a part is of."""
    return None if report.part is None else report.part.index.tolist()


def _rows(
    report_a: RobustnessReport, report_b: RobustnessReport
) -> list[tuple[str, float | None, float | None]]:
    a, b = _accuracies(report_a), _accuracies(report_b)
    return [(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def _accuracies(report: RobustnessReport) -> dict[str, float]:
    """What was attacked with -> the accuracy, in the order of the report."""
    found = {"no attack": report.clean_accuracy}
    for row in report.results:
        parts = [row.label]
        parts += [f"through {row.loss}"] if row.loss else []
        parts.append(f"{row.norm or ''} {budget_text(report, row)}".strip())
        found[", ".join(filter(None, parts))] = row.robust_accuracy
    worst = {
        f"worst case, {case.norm} {ball_text(report, case.eps)}": case.accuracy
        for case in report.worst_cases
    }
    return found | worst


def _attacks(report: RobustnessReport) -> list[tuple[Any, ...]]:
    return [(row.name, row.engine, row.loss, row.settings) for row in report.results]

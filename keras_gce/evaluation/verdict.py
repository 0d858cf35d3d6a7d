"""The first words of a report's page: how robust, and whether to trust that."""

import dataclasses
from typing import Any

from keras_gce.evaluation.intervals import wilson_interval
from keras_gce.evaluation.results import Curve
from keras_gce.evaluation.sanity import FIRST
from keras_gce.evaluation.words import (
    ball_text,
    images,
    inside,
    interval_text,
    portion,
    sign,
)

__all__ = ["Verdict", "verdict"]

# Below this the interval is wider than what is usually asked.
FEW = 100
# Where one of these is raised, no figure means anything. What is not finite counts as
# broken: the figure is what it says.
MEANING = set(FIRST) - {"nan_outputs"}
# Of the signs, what only runs of their own look for; see `diagnose`.
RUN = "more_steps_gain"
# Radii that the sentence names; the table and the curve have all.
NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a report says, in three sentences.

    Args:
        robust: How many images keep their class.
        trust: Whether to trust that, in a few words.
        why: Why, in a sentence.
        level: "raised", "unknown" or "clear": what `trust` comes to.
        precise: What the number of images allows to say.
    """

    robust: str
    trust: str
    why: str
    level: str
    precise: str


def verdict(report: Any) -> Verdict:
    """Returns the verdict of a report, in words that never say more than it does.

    Args:
        report: A `RobustnessReport`.
    """
    curves = report.worst_case_curves
    trust, why, level = _trust(report, curves)
    return Verdict(
        robust=_robust(report, curves),
        trust=trust,
        why=why,
        level=level,
        precise=_precise(report, curves),
    )


def _robust(report: Any, curves: list[Curve]) -> str:
    n = len(report.clean)
    if not report.results:
        return "No attack was run."
    if not curves:
        left = images(round(report.worst_case_accuracy * n), n)
        if report.has_radius:
            return f"At eps 0, where nothing is attacked, {left}."
        distances = [row.mean_l2 for row in report.results if row.mean_l2 is not None]
        far = ""
        if distances:
            far = f"; the least mean change was {min(distances):.2g} (l2)"
        return f"Under attacks that may go as far as they like {left}{far}."
    parts = [_along(report, curve, n) for curve in curves]
    if len(parts) > 1:
        left = round(report.worst_case_accuracy * n)
        parts.append(f"{portion(left, n)} under all of these together")
    first, *_ = _points(curves[0], n)
    # What is counted is said once.
    rest = "; ".join(parts).removeprefix(portion(first[1], n))
    text = images(first[1], n) + rest
    return f"{text[0].upper()}{text[1:]}."


def _points(curve: Curve, n: int) -> list[tuple[float, int]]:
    """The radii of a curve, and how many images are right at each."""
    pairs = zip(curve.eps, curve.accuracy, strict=True)
    return [(eps, round(share * n)) for eps, share in pairs if eps]


def _along(report: Any, curve: Curve, n: int) -> str:
    """How many are right at each radius of a norm."""
    (eps, right), *rest = _points(curve, n)
    text = f"{portion(right, n)} at eps {ball_text(report, eps, curve.norm)}"
    if not right and rest:
        return f"{text} or more"
    nothing = [eps for eps, right in rest if not right]
    rest = [(eps, right) for eps, right in rest if right]
    if len(rest) >= NAMED:
        rest = rest[-1:]
    for eps, right in rest:
        text += f", {portion(right, n)} at {ball_text(report, eps)}"
    if nothing:
        more = " or more" if len(nothing) > 1 else ""
        text += f", none at {ball_text(report, nothing[0])}{more}"
    return text


def _trust(report: Any, curves: list[Curve]) -> tuple[str, str, str]:
    meaning = [flag for flag in report.flags if flag.name in MEANING]
    masking = [flag for flag in report.flags if flag.name not in MEANING]
    looked = [flag for flag in report.checks if flag.name not in FIRST]
    names = "; ".join(inside(sign(flag)) for flag in masking)
    some = "1 sign" if len(masking) == 1 else f"{len(masking)} signs"
    if not report.results:
        return (
            "Nothing was attacked.",
            "No figure here speaks of robustness.",
            "unknown",
        )
    if meaning:
        what = "; ".join(inside(sign(flag)) for flag in meaning)
        return "This figure says nothing about robustness:", f"{what}.", "raised"
    if masking:
        seen = f"{some} of masked gradients: {names}."
        if not curves:
            return "Do not trust this figure.", seen, "raised"
        if not any(curve.accuracy[1] for curve in curves):
            return "It can't be lower, but quote no other figure here:", seen, "raised"
        return (
            "Do not trust this figure.",
            f"{seen} The model may be less robust.",
            "raised",
        )
    words = ""
    if not curves:
        words = " Without a radius this is no robust accuracy."
    if report.threat_model not in ("adaptive", None):
        words += (
            f" Attacked under threat model {report.threat_model} alone, which is not "
            "the worst case."
        )
    if not looked:
        why = "This report did not look for signs of masked gradients."
        return "Not known whether to trust it.", why + words, "unknown"
    count = (
        f"of {len(looked)} signs that the attacks fail, and the model only seems to "
        "hold, none was seen. That is no proof."
    )
    if not any(flag.name == RUN for flag in looked):
        why = f"{count} Those that take runs of their own were not looked for."
        return "No sign of masking so far:", why + words, "unknown"
    if report.not_tried:
        words += " What could still break it is listed below."
    return "No sign of masking:", count + words, "clear"


def _precise(report: Any, curves: list[Curve]) -> str:
    n = len(report.clean)
    low, high = report.confidence_interval()
    where = ""
    if len(curves) == 1 and len(curves[0].eps) > 2:
        low, high = wilson_interval(curves[0].accuracy[1], n)
        where = f" at {ball_text(report, curves[0].eps[1])}"
    elif len(curves) > 1:
        where = " under all together"
    many = f"{n} images" if n != 1 else "1 image"
    text = f"so {interval_text(low, high)}{where} (95% interval)"
    if n < FEW:
        return f"Only {many}, {text}: too few to be sure of more."
    return f"{many}, {text}."

"""The geometry of the chart of a report's page: accuracy against eps."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from keras_gce.evaluation.results import Curve
from keras_gce.evaluation.threat_models import THREAT_MODELS, ThreatModel
from keras_gce.evaluation.words import ball_text

__all__ = ["charts"]

# A line of a threat model that has no name.
OTHER = ThreatModel(
    name="", losses=(), label="", color="#555555", dash="12 3 2 3", marker="circle"
)
# On a dark ground; the same hues.
DARK = {"#0072b2": "#56b4e9", "#d55e00": "#ff8c42", "#000000": "#ffffff"}
# Of lines that coincide each is seen: a later one is drawn thinner, on top, and beside
# the earlier ones.
WIDTHS = (7.0, 4.5, 1.8)
# Of so many lines; of more, where they stand would say less than that they are there.
MOST_BESIDE = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas:
    """A chart's size in units of its SVG, which are about pixels.

    Args:
        name: The class of the SVG, by which the page shows the one that fits.
        width: Width of the whole.
        height: Height of the whole.
        ticks: About how many ticks fit beneath it.
        beside: How far apart points of the same eps stand.
    """

    name: str
    width: int
    height: int
    ticks: int
    beside: float

    left = 46
    top = 28

    @property
    def right(self) -> int:
        """Where the plot ends, with room for half a label."""
        return self.width - 18

    @property
    def bottom(self) -> int:
        """Where the plot ends, above ticks and the axis's name."""
        return self.height - 50

    def y(self, share: float) -> float:
        """Returns where a share lies."""
        return round(self.bottom - (self.bottom - self.top) * share, 1)


CANVASES = (
    Canvas(name="wide", width=720, height=380, ticks=6, beside=7.0),
    Canvas(name="narrow", width=350, height=320, ticks=4, beside=4.0),
)


def charts(report: Any) -> list[dict[str, Any]]:
    """Returns what there is to draw, for each norm: drawings and a table.

    A norm with one radius and no curve has none: it is a figure, on its card.

    Args:
        report: A `RobustnessReport`.
    """
    worst = {curve.norm: curve for curve in report.worst_case_curves}
    norms = dict.fromkeys([curve.norm for curve in report.curves] + list(worst))
    found = []
    for norm in norms:
        curves = [curve for curve in report.curves if curve.norm == norm]
        at = worst.get(norm)
        drawn = [*curves, at] if at and (curves or len(at.eps) > 2) else curves
        if any(eps for curve in drawn for eps in curve.eps):
            found.append(_chart(report, norm, curves, at))
    return found


def _chart(
    report: Any, norm: str, curves: Sequence[Curve], worst: Curve | None
) -> dict[str, Any]:
    drawings = [_drawing(report, canvas, curves, worst) for canvas in CANVASES]
    columns = [dict(zip(curve.eps, curve.accuracy, strict=True)) for curve in curves]
    if worst:
        columns.append(dict(zip(worst.eps, worst.accuracy, strict=True)))
    radii = sorted({eps for column in columns for eps in column})
    return {
        "norm": norm,
        "drawings": drawings,
        "curves": curves,
        "worst": worst,
        "rows": [
            {
                "eps": ball_text(report, eps) if eps else "0 (no attack)",
                "evaluated": bool(worst and eps and eps in worst.eps),
                "shares": [column.get(eps) for column in columns],
            }
            for eps in radii
        ],
    }


def _drawing(
    report: Any, canvas: Canvas, curves: Sequence[Curve], worst: Curve | None
) -> dict[str, Any]:
    """Where the lines, points and ticks lie."""
    of_all = [*curves, *([worst] if worst else [])]
    most = max(max(curve.eps) for curve in of_all)
    # The outermost points of a line stand beside its ends.
    first, last = canvas.left + 14, canvas.right - 14

    def x(eps: float) -> float:
        return round(first + (last - first) * eps / most, 1)

    def points(curve: Curve, beside: float = 0.0) -> list[dict[str, Any]]:
        return [
            {
                "x": x(eps) + beside,
                "y": canvas.y(accuracy),
                "low_y": canvas.y(low),
                "high_y": canvas.y(high),
                "eps": ball_text(report, eps),
            }
            | {"accuracy": accuracy, "low": low, "high": high}
            for eps, accuracy, (low, high) in zip(
                curve.eps, curve.accuracy, curve.intervals(), strict=True
            )
        ]

    lines = []
    for i, curve in enumerate(curves):
        style = THREAT_MODELS.get(curve.threat_model, OTHER)
        beside = (i - (len(curves) - 1) / 2) * canvas.beside
        if len(curves) > MOST_BESIDE:
            beside = 0.0
        lines.append(
            {
                "curve": curve,
                "style": style,
                "dark": DARK.get(style.color, "#c0c0c0"),
                "width": WIDTHS[min(i, len(WIDTHS) - 1)],
                "points": points(curve, beside),
            }
        )
    evaluated = points(worst)[1:] if worst else []
    in_unit = bool(evaluated) and all("/" in point["eps"] for point in evaluated)
    unit = 255 if in_unit else 1
    return {
        "canvas": canvas,
        "lines": lines,
        "worst": evaluated,
        # Where nothing else is drawn, the points are joined, from no attack on.
        "joined": points(worst) if worst and len(worst.eps) > 2 else [],
        "marks": _marks(evaluated, canvas),
        "x_ticks": [
            (x(tick / unit), f"{tick:.3g}{'/255' if in_unit and tick else ''}")
            for tick in _ticks(most * unit, canvas.ticks, in_unit)
        ],
        "y_ticks": [(canvas.y(s), f"{s:.0%}") for s in (0, 0.25, 0.5, 0.75, 1)],
    }


def _marks(points: Sequence[dict[str, Any]], canvas: Canvas) -> list[dict[str, Any]]:
    """The evaluated radii, each with its name where there is room for it."""
    marks: list[dict[str, Any]] = []
    free = float(canvas.left)
    for point in points:
        name = point["eps"] if len(points) > 1 else f"eps {point['eps']}"
        text = f"{name}: {100 * point['accuracy']:.1f}%"
        half = 4.0 * len(text)
        middle = min(max(point["x"], canvas.left + half), canvas.width - half)
        shown = middle - half >= free
        if shown:
            free = middle + half + 6
        marks.append({"x": point["x"], "text_x": middle, "text": text if shown else ""})
    return marks


def _ticks(most: float, about: int, in_unit: bool) -> list[float]:
    """Returns about so many round numbers from 0 to `most`; powers of 2 of 255ths."""
    rough = most / about
    if in_unit:
        step = 2.0 ** max(math.ceil(math.log2(rough)), 0)
    else:
        power = 10 ** math.floor(math.log10(rough))
        step = min(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough)
    return [i * step for i in range(int(most / step + 1e-9) + 1)]

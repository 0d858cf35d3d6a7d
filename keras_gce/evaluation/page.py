"""The page of a report: one file that fetches nothing and runs no script."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_gce.errors import InputError
from keras_gce.evaluation.advice import GUIDE
from keras_gce.evaluation.results import Curve
from keras_gce.evaluation.threat_models import THREAT_MODELS, ThreatModel

__all__ = ["page"]

# Of the chart, in units of the SVG: the plot's corners within a view of 720 x 360.
LEFT, TOP, RIGHT, BOTTOM = 68, 16, 704, 316
# A line of a threat model that has no name.
OTHER = ThreatModel(
    name="",
    losses=(),
    label="",
    color="#555555",
    dash="12 3 2 3",
    marker="circle",
)
# With more classes the page shows the worst of them, and the rest folded.
MOST_CLASSES = 20


def page(report: Any) -> str:
    """Returns a report as an HTML page.

    Args:
        report: A `RobustnessReport`, whose file imports this one.

    Raises:
        InputError: If Jinja or Pillow is not installed.
    """
    try:
        import jinja2
        import PIL.Image
    except ImportError as error:
        raise InputError(
            "The HTML report must have Jinja and Pillow installed: "
            f"pip install keras_gce[report]. Received: {error}"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_gce.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.2f}"
    environment.filters["settings"] = lambda settings: ", ".join(
        f"{name}={value}" for name, value in settings.items()
    )
    environment.filters["png"] = lambda pixels: _png(pixels, PIL.Image)
    low, high = report.confidence_interval()
    # The worst first, where not all are shown at once.
    classes = [] if report.labels is None else list(report.per_class().items())
    if len(classes) > MOST_CLASSES:
        classes.sort(key=lambda item: item[1]["worst_case_accuracy"])
    return environment.get_template("report.html").render(
        report=report,
        guide=GUIDE,
        low=low,
        high=high,
        balls=sorted(
            {f"{r.norm} {r.eps:g}" for r in report.results if r.eps is not None}
        ),
        chart=_chart(report.curves),
        classes=classes[:MOST_CLASSES],
        more_classes=classes[MOST_CLASSES:],
    )


def _chart(curves: Sequence[Curve]) -> dict[str, Any] | None:
    """Returns where the lines, points and ticks of the curves lie, or `None`."""
    if not curves:
        return None
    most = max(max(curve.eps) for curve in curves)

    def x(eps: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * eps / most, 1)

    def y(share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * share, 1)

    lines = []
    for curve in curves:
        points = [
            {"x": x(eps), "y": y(accuracy), "eps": f"{eps:.3g}"}
            | {"accuracy": accuracy, "low": low, "high": high}
            for eps, accuracy, (low, high) in zip(
                curve.eps, curve.accuracy, curve.intervals(), strict=True
            )
        ]
        lines.append(
            {"style": THREAT_MODELS.get(curve.threat_model, OTHER)}
            | {"curve": curve, "points": points}
        )
    return {
        "lines": lines,
        "corners": (LEFT, TOP, RIGHT, BOTTOM),
        "x_ticks": [(x(eps), f"{eps:.3g}") for eps in _ticks(most)],
        "y_ticks": [(y(share), f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)],
        "radii": [f"{eps:.3g}" for eps in curves[0].eps],
        "same_radii": all(curve.eps == curves[0].eps for curve in curves),
    }


def _ticks(most: float) -> list[float]:
    """Returns about five round numbers from 0 to `most`."""
    rough = most / 5
    power = 10 ** math.floor(math.log10(rough))
    step = min(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough)
    return [i * step for i in range(int(most / step + 1e-9) + 1)]


def _png(pixels: np.ndarray, image: Any) -> str:
    """Returns uint8 pixels of shape `(H, W, 1 or 3)` as the address of a PNG."""
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

"""The page of a report: one file that fetches nothing and runs no script."""

import base64
import importlib
import io
from typing import Any

import numpy as np

from keras_gce import names
from keras_gce.errors import InputError
from keras_gce.evaluation.advice import GUIDE
from keras_gce.evaluation.attack_table import attack_table
from keras_gce.evaluation.chart import charts
from keras_gce.evaluation.results import Flag, GalleryExample
from keras_gce.evaluation.sanity import FIRST
from keras_gce.evaluation.verdict import verdict
from keras_gce.evaluation.words import ball_text, loss_text, sign, title

__all__ = ["page"]

# With more classes the page shows the worst of them, and the rest folded.
MOST_CLASSES = 20
# With more radii the cards show the first and the last.
MOST_CARDS = 3


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
            f'pip install "keras_gce[report]". Received: {error}'
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_gce.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": lambda share: f"{100 * share:.2f}",
        "settings": lambda settings: ", ".join(f"{k}={v}" for k, v in settings.items()),
        "png": lambda pixels: _png(pixels, PIL.Image),
        "ball": lambda eps, norm=None: ball_text(report, eps, norm),
        "loss": loss_text,
        "sign": sign,
    }
    environment.filters.update(filters)
    # The worst first, where not all are shown at once.
    classes = [] if report.labels is None else list(report.per_class().items())
    if len(classes) > MOST_CLASSES:
        classes.sort(key=lambda item: item[1]["worst_case_accuracy"])
    broken = [example for example in report.gallery if not example.left]
    scale = max((example.scale for example in broken), default=0.0)
    return environment.get_template("report.html").render(
        report=report,
        version=importlib.import_module("keras_gce").__version__,
        title=title(report),
        verdict=verdict(report),
        cards=_cards(report),
        norms=[c.norm for c in report.worst_case_curves if c.norm in names.NORMS],
        checks=_checks(report.checks),
        guide=GUIDE,
        table=attack_table(report),
        charts=charts(report),
        classes=classes[:MOST_CLASSES],
        more_classes=classes[MOST_CLASSES:],
        broken=[(example, _difference(example, scale)) for example in broken],
        scale=scale,
        left=[example for example in report.gallery if example.left],
        n_right=int(report.clean.sum()),
        n_left=int(report.robust.sum()),
    )


def _cards(report: Any) -> list[dict[str, Any]]:
    """The figures at the head of the page, one for each ball, and one of them all."""
    found = [
        {
            "name": "right under attack, eps " + ball_text(report, case.eps, case.norm),
            "share": case.accuracy,
            "interval": case.confidence_interval,
        }
        for case in report.worst_cases
    ]
    if len(found) > MOST_CARDS:
        found = [found[0], found[-1]]
    if len(report.worst_case_curves) > 1 or not found:
        name = "right under all of these together"
        if not report.has_radius:
            name = "left by attacks without a radius"
        if not report.results:
            name = "left by no attack"
        found.append(
            {
                "name": name,
                "share": report.worst_case_accuracy,
                "interval": report.confidence_interval(),
            }
        )
    return found


def _checks(checks: list[Flag]) -> list[tuple[str, list[Flag]]]:
    """The checks by what they are about, the raised ones first."""
    ordered = sorted(checks, key=lambda flag: not flag.raised)
    first = [flag for flag in ordered if flag.name in FIRST]
    masking = [flag for flag in ordered if flag.name not in FIRST]
    parts = [("Do the figures mean anything?", first)]
    parts += [("Are gradients masked?", masking)]
    return [(name, flags) for name, flags in parts if flags]


def _difference(example: GalleryExample, scale: float) -> np.ndarray:
    """The difference of an example where black and white stand for `scale`."""
    share = (example.difference / 127.5 - 1) * example.scale / max(scale, 1e-12)
    return np.round(127.5 * (1 + share)).astype(np.uint8)


def _png(pixels: np.ndarray, image: Any) -> str:
    """Returns uint8 pixels of shape `(H, W, 1 or 3)` as the address of a PNG."""
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

"""Views of a robustness report: accuracy against eps, and adversarial examples."""

from typing import Any

from keras_gce.errors import InputError
from keras_gce.plotting.axes import STYLES, Axes, Figure, axes_or_new, new_figure

__all__ = ["accuracy_curves", "adversarial_examples"]

MARKERS = {"square": "s", "triangle": "^", "circle": "o"}


def accuracy_curves(
    curves: Any, ax: Axes | None = None, dataset: str | None = None
) -> Figure:
    """Plots accuracy against eps, under each threat model, with 95% intervals.

    Args:
        curves: List of `keras_gce.evaluation.Curve`, of one attack and norm, as
            `keras_gce.evaluation.accuracy_curves` returns, or a report that has them.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.
        dataset: Name of the dataset, for the title. Defaults to `None`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If there are no curves, or of several attacks or norms, or
            matplotlib is missing.
    """
    # Late, since the package of it brings Keras.
    from keras_gce.evaluation import THREAT_MODELS, RobustnessReport

    model = None
    if isinstance(curves, RobustnessReport):
        curves, model = curves.curves, curves.model
    kinds = {(curve.attack, curve.norm, curve.n_examples) for curve in curves}
    if len(kinds) != 1:
        raise InputError(
            "`curves` must be those of one attack, norm and number of examples. "
            f"Received: {sorted(kinds) or 'none'}"
        )
    ((attack, norm, n_examples),) = kinds
    figure, ax = axes_or_new(ax)
    spare = iter(STYLES[3:])
    for curve in curves:
        known = THREAT_MODELS.get(curve.threat_model)
        if known is None:
            style, label = next(spare), curve.threat_model
        else:
            style, label = _style(known), known.label
        percent = [100 * share for share in curve.accuracy]
        errors = [
            (max(100 * (share - low), 0.0), max(100 * (high - share), 0.0))
            for share, (low, high) in zip(
                curve.accuracy, curve.intervals(), strict=True
            )
        ]
        ax.errorbar(
            curve.eps,
            percent,
            yerr=list(zip(*errors, strict=True)),
            capsize=3,
            elinewidth=1,
            markersize=5,
            label=label,
            **style,
        )
    what = [dataset, model, f"{attack} on {n_examples} images"]
    ax.set(
        xlabel=f"eps, radius of the {norm} ball (pixels in [0, 1])",
        ylabel="accuracy (%), with 95% intervals",
        ylim=(-2, 102),
        title=", ".join(text for text in what if text),
    )
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(title="threat model", frameon=False)
    return figure


def _style(threat_model: Any) -> dict[str, Any]:
    """The look of a threat model's line, the same in every figure, for matplotlib."""
    dash = threat_model.dash
    return {
        "color": threat_model.color,
        "marker": MARKERS[threat_model.marker],
        "linestyle": (0, tuple(map(int, dash.split()))) if dash else "-",
    }


def adversarial_examples(
    report: Any, limit: int = 6, dataset: str | None = None
) -> Figure:
    """Plots adversarial examples beneath their images, and what was changed.

    A column each: the image and its class, which the model got right; the adversarial
    example and the class that the model gives it; their difference, grey where
    nothing changed, black and white where a pixel changed by what stands below.

    Args:
        report: A `keras_gce.evaluation.RobustnessReport` with a gallery.
        limit: Most examples, 1 to 8. Defaults to 6.
        dataset: Name of the dataset, for the title. Defaults to `None`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If the report has no gallery, `limit` is not as described, or
            matplotlib is missing.
    """
    if not 1 <= limit <= 8:
        raise InputError(f"`limit` must be in [1, 8]. Received: limit={limit}")
    examples = [example for example in report.gallery if not example.left][:limit]
    if not examples:
        raise InputError(
            "`report` must have adversarial examples of images with 1 or 3 channels. "
            "Received: a report with an empty gallery"
        )
    width = max(1.15 * len(examples) + 0.7, 5.0)
    figure = new_figure(width, 5.2)
    grid = figure.subplots(3, len(examples), squeeze=False)
    for column, example in zip(grid.T, examples, strict=True):
        result = report.results[example.row]
        titles = (
            report.class_name(example.before),
            f"→ {report.class_name(example.after)}",
            "",
        )
        images = (example.clean, example.adversarial, example.difference)
        for ax, image, title in zip(column, images, titles, strict=True):
            # Grey images have one channel, which imshow takes without its axis.
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize="medium")
        lines = [f"±{example.scale:.2g}", result.name]
        lines += [f"eps {result.eps:g}"] if result.eps is not None else []
        lines += [f"({result.loss})"] if result.loss else []
        column[2].set_xlabel("\n".join(lines), fontsize="small")
    names = ("image", "adversarial\nexample", "difference,\namplified")
    for ax, name in zip(grid[:, 0], names, strict=True):
        ax.set_ylabel(name)
    norms = {report.results[example.row].norm for example in examples} - {None}
    of_norms = f", {' and '.join(sorted(norms))} norm" if norms else ""
    what = [dataset, report.model, f"threat model {report.threat_model or 'not named'}"]
    figure.suptitle(", ".join(text for text in what if text) + of_norms)
    figure.supxlabel(
        "above: the class that the model gives; below: what black and white stand for",
        fontsize="small",
    )
    return figure

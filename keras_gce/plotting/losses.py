"""Losses over the predictions of three classes, and along one line of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_gce.errors import InputError
from keras_gce.plotting.axes import STYLES, Axes, Figure, axes_or_new, new_figure

__all__ = [
    "least_predictions",
    "loss_profile",
    "loss_simplex",
    "loss_simplexes",
    "simplex_values",
]

# Where the corners lie, the true class on top.
CORNERS = np.array([(0.5, np.sqrt(0.75)), (0.0, 0.0), (1.0, 0.0)])
# Those of the predictions whose greatest probability is the true class's.
CORRECT = np.array([(1, 0, 0), (1 / 2, 1 / 2, 0), (1 / 3, 1 / 3, 1 / 3)])
CORRECT = np.concatenate([CORRECT, [(1 / 2, 0, 1 / 2)]])
SHADE: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": "white",
    "hatch": "//",
    "linewidth": 0,
}
UNIT = "loss (no unit)"
# Losses are in float32: within this share of the range they are the least.
SAME = 1e-5

# A `keras.losses.Loss`, or a function.
Loss: TypeAlias = Callable[..., Any]


def simplex_values(loss: Loss, resolution: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Computes a loss on a grid of predictions of 3 classes, of which 0 is true.

    Example:

    >>> from keras_gce.losses import guided_complement_entropy
    >>> points, values = simplex_values(guided_complement_entropy)
    >>> points[values.argmin()].tolist(), round(float(values.min()), 4)
    ([1.0, 0.0, 0.0], -1.0)

    Args:
        loss: A `keras.losses.Loss` on integer labels and probabilities, or a function
            `(y_true, y_pred)` that returns a value for each example.
        resolution: Steps along an edge, >= 2. Defaults to 120.

    Returns:
        Predictions of shape `(N, 3)`, and losses of shape `(N,)`.

    Raises:
        InputError: If an argument is not as described.
    """
    import keras

    if resolution < 2:
        raise InputError(
            f"`resolution` must be >= 2. Received: resolution={resolution}"
        )
    # What Keras's losses and ours call it; other losses say nothing about it.
    if getattr(loss, "from_logits", False):
        raise InputError(
            f"`loss` must be one on probabilities. Received: {loss!r} with "
            "from_logits=True"
        )
    steps = range(resolution + 1)
    points = np.array([(i, j) for i in steps for j in steps if i + j <= resolution])
    points = np.column_stack([points, resolution - points.sum(axis=1)]) / resolution
    each = loss.call if isinstance(loss, keras.losses.Loss) else loss
    values = each(np.zeros(len(points), "int32"), points.astype("float32"))
    values = np.asarray(keras.ops.convert_to_numpy(values), "float64")
    if values.shape != (len(points),) or not np.isfinite(values).all():
        raise InputError(
            "`loss` must return a finite value for each example. "
            f"Received: {loss!r}, which returned values of shape {values.shape} for "
            f"{len(points)} predictions"
        )
    return points, values


def least_predictions(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the predictions at which a loss is least, in float32's precision.

    Args:
        points: Predictions of shape `(N, 3)`, as `simplex_values` returns.
        values: Their losses, of shape `(N,)`.

    Returns:
        Those of the predictions, ordered by the true class's probability.
    """
    span = max(values.max() - values.min(), 1e-12)
    found = points[values <= values.min() + SAME * span]
    return found[np.argsort(found[:, 0], kind="stable")]


def loss_simplex(
    loss: Loss,
    ax: Axes | None = None,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
    resolution: int = 120,
    key: bool = True,
) -> Figure:
    """Plots a loss over all predictions of 3 classes as a heat map.

    The corners of the triangle are the predictions that are sure of one class, the
    true one on top. The hatched part holds the correct predictions. The minimum is
    marked by a star where it is one point, or by circles along all of it.

    Args:
        loss: As for `simplex_values`.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.
        title: Name of the loss. Defaults to `None`.
        limits: The least and the greatest value of the colours, for several maps on
            one scale. Defaults to `None`: those of the loss.
        resolution: Steps along an edge, >= 2. Defaults to 120.
        key: Whether to draw a colour bar and a legend. Defaults to `True`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    points, values = simplex_values(loss, resolution)
    figure, ax = axes_or_new(ax, 5.6, 4.6)
    low, high = (None, None) if limits is None else limits
    heat = ax.tripcolor(
        *(points @ CORNERS).T,
        values,
        shading="gouraud",
        cmap="viridis",
        vmin=low,
        vmax=high,
        # Thousands of triangles as pixels, or an SVG would be megabytes.
        rasterized=True,
    )
    region = CORRECT @ CORNERS
    ax.fill(*region.T, **SHADE)
    ax.plot(*region[[0, 1, 2, 3, 0]].T, color="black", linewidth=1.5)
    minimum = least_predictions(points, values)
    one = len(minimum) == 1
    if not one:
        minimum = minimum[np.linspace(0, len(minimum) - 1, 13).round().astype(int)]
    (marked,) = ax.plot(
        *(minimum @ CORNERS).T,
        marker="*" if one else "o",
        markersize=15 if one else 5,
        color="white",
        markeredgecolor="black",
        linestyle="",
        clip_on=False,
        label="minimum, one point" if one else "minimum, all along",
    )
    text = {"ha": "center", "fontsize": "small"}
    ax.annotate("p₀ = 1 (true class)", CORNERS[0] + (0, 0.07), va="bottom", **text)
    for label, corner in zip(("p₁ = 1", "p₂ = 1"), CORNERS[1:], strict=True):
        ax.annotate(label, corner - (0, 0.04), va="top", **text)
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.14, 1.0), title=title)
    ax.set_aspect("equal")
    ax.axis("off")
    if key:
        figure.colorbar(heat, ax=ax, label=UNIT, shrink=0.8)
        where = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.04), "ncols": 2}
        _legend(ax, [marked], **where)
    return figure


def loss_simplexes(
    losses: Mapping[str, Loss],
    limits: tuple[float, float] = (-1, 0),
    title: str | None = None,
) -> Any:
    """Plots several losses as `loss_simplex` does, on one scale, three in a row.

    Args:
        losses: Dict of a loss's name -> the loss, as for `simplex_values`.
        limits: The least and the greatest value of the colours. Defaults to (-1, 0),
            those of the normalised losses.
        title: What is common to them. Defaults to `None`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    if not losses:
        raise InputError("`losses` must hold at least one loss. Received: none")
    rows = len(losses) // 3 + 1
    figure = new_figure(7.0, 2.25 * rows + 0.5)
    *grid, cell = figure.subplots(rows, 3).ravel()
    if title:
        figure.suptitle(title)
    marks: dict[str, Any] = {}
    for ax, (name, loss) in zip(grid, losses.items(), strict=False):
        loss_simplex(loss, ax, name, limits=limits, key=False)
        mark = ax.get_lines()[-1]
        marks.setdefault(mark.get_label(), mark)
    for ax in (*grid[len(losses) :], cell):
        ax.axis("off")
    bar = cell.inset_axes((0.05, 0.78, 0.9, 0.1))
    heat = grid[0].collections[0]
    figure.colorbar(heat, cax=bar, orientation="horizontal", label=UNIT)
    _legend(cell, marks.values(), loc="lower center")
    return figure


def _legend(ax: Axes, marks: Iterable[Any], **where: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(**SHADE | {"facecolor": "0.5"}), *marks]
    names = ["correct prediction", *(mark.get_label() for mark in marks)]
    ax.legend(handles, names, frameon=False, **where)


def loss_profile(
    alphas: Sequence[float] = (0, 1 / 10, 1 / 3, 1 / 2, 1),
    num_classes: int = 10,
    ax: Axes | None = None,
) -> Any:
    """Plots GCE against the true class's probability, the wrong ones equal.

    Along that line the entropy of the wrong classes is greatest and the loss is
    `-p_g**alpha`: what is left is the guiding factor. With alpha 0 there is none, and
    the loss, complement entropy, does not know the true class.

    Args:
        alphas: Exponents, each >= 0; at most 6. Defaults to 0, 1/10, 1/3, 1/2 and 1.
        num_classes: K >= 3: from 1 / K on the prediction is correct. Defaults to 10.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    if num_classes < 3 or not 1 <= len(alphas) <= len(STYLES):
        raise InputError(
            f"`num_classes` must be >= 3, and `alphas` 1 to {len(STYLES)} numbers. "
            f"Received: num_classes={num_classes}, alphas={alphas}"
        )
    import keras

    from keras_gce.losses import guided_complement_entropy

    p = np.linspace(0, 1, 401)
    wrong = (1 - p) / (num_classes - 1)
    y_pred = np.column_stack([p, *[wrong] * (num_classes - 1)]).astype("float32")
    y_true = np.zeros(len(p), "int32")
    figure, ax = axes_or_new(ax)
    ax.axvspan(1 / num_classes, 1, color="0.94", zorder=0, label="correct prediction")
    for number, (alpha, style) in enumerate(zip(alphas, STYLES, strict=False)):
        loss = guided_complement_entropy(y_true, y_pred, alpha)
        ax.plot(
            p,
            keras.ops.convert_to_numpy(loss),
            # Apart from one line to the next, or they would hide one another.
            markevery=(20 + 12 * number, 80),
            label=f"alpha {_fraction(alpha)}" + " (no guiding factor)" * (alpha == 0),
            **style,
        )
    ax.set(
        xlabel="probability of the true class (no unit), the wrong ones equal",
        ylabel="GCE (no unit; normalised, ideal −1)",
        xlim=(0, 1),
        ylim=(-1.03, 0.03),
        title=f"Guided complement entropy (GCE), {num_classes} classes",
    )
    ax.grid(color="0.85")
    ax.set_axisbelow(True)
    ax.legend(loc="upper right")
    return figure


def _fraction(alpha: float) -> str:
    """1/3 for a third, and the number for what is no such fraction."""
    share = round(1 / alpha) if alpha else 0
    if share > 1 and abs(1 / share - alpha) < 1e-9:
        return f"1/{share}"
    return f"{alpha:.3g}"

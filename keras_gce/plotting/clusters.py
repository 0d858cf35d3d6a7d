"""The classes in a model's features: on a plane, and in numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_gce.errors import InputError
from keras_gce.plotting.axes import (
    COLOURS,
    MARKERS,
    STYLES,
    Axes,
    Figure,
    axes_or_new,
    new_figure,
)

__all__ = ["embedding", "embeddings", "silhouettes"]

# Of more classes, which markers and colours can't tell apart, the most frequent.
MOST_CLASSES = len(MARKERS)


def embedding(
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    method: str = "t-SNE",
    size: float = 9,
) -> Figure:
    """Plots points on a plane by class, each class with its name at its median.

    Args:
        points: Array of shape `(N, 2)`, such as `tsne` returns.
        labels: Integers of shape `(N,)`: the true classes. Of more than 10, the 10
            most frequent are drawn, and the title says so.
        class_names: Names of the classes. Defaults to `None`: their numbers.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.
        title: What was embedded: dataset, model, training. Defaults to `None`.
        method: What made the plane, for the axes. Defaults to "t-SNE".
        size: Size of the markers, in points squared. Defaults to 9.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    if points.shape != (len(labels), 2) or labels.ndim != 1 or not len(labels):
        raise InputError(
            "`points` must have the shape (N, 2), and `labels` (N,), N >= 1. "
            f"Received: points of shape {points.shape}, labels of shape {labels.shape}"
        )
    figure, ax = axes_or_new(ax, 5.2, 5.2)
    from matplotlib import patheffects

    shown, total = _most_frequent(labels)
    for number, label in enumerate(shown):
        of_class = points[labels == label]
        ax.scatter(
            *of_class.T,
            s=size,
            marker=MARKERS[number],
            facecolor=COLOURS[number],
            edgecolor="0.2",
            linewidth=0.2,
            label=_class_name(label, class_names),
        )
    for label in shown:
        ax.annotate(
            _class_name(label, class_names),
            np.median(points[labels == label], axis=0),
            ha="center",
            va="center",
            weight="bold",
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
        )
    if total > len(shown):
        some = f"the {len(shown)} most frequent of {total} classes"
        title = f"{title}\n{some}" if title else some
    ax.set(
        xlabel=f"{method} 1 (no unit)",
        ylabel=f"{method} 2 (no unit)",
        xticks=[],
        yticks=[],
        title=title,
    )
    ax.set_aspect("equal", "datalim")
    return figure


def silhouettes(
    values: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    space: str = "the features",
) -> Figure:
    """Plots the mean silhouette of each class, for one or several models.

    Args:
        values: Dict of a model's name -> array of shape `(N,)`, as `silhouette_values`
            returns; at most 6.
        labels: Integers of shape `(N,)`: the true classes. Of more than 10, the 10
            most frequent are drawn, and the label of the mean over all says so.
        class_names: Names of the classes. Defaults to `None`: their numbers.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.
        title: Dataset, model, training. Defaults to `None`.
        space: Where the distances were taken. Defaults to "the features".

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    labels = np.asarray(labels)
    values = {name: np.asarray(silhouette) for name, silhouette in values.items()}
    wrong = {n: v.shape for n, v in values.items() if v.shape != labels.shape}
    if wrong or labels.ndim != 1 or not 1 <= len(values) <= len(STYLES):
        raise InputError(
            f"`values` must hold 1 to {len(STYLES)} arrays of the shape of `labels`, "
            f"(N,). Received: {len(values)} arrays, labels of shape {labels.shape}"
            + "".join(f", {name!r} of shape {shape}" for name, shape in wrong.items())
        )
    shown, total = _most_frequent(labels)
    figure, ax = axes_or_new(ax, 6.4, 1.6 + 0.26 * (len(shown) + 1))
    rows = ["all" if total == len(shown) else f"all {total} classes"]
    rows += [_class_name(label, class_names) for label in shown]
    for number, (name, silhouette) in enumerate(values.items()):
        means = [silhouette.mean()]
        means += [silhouette[labels == label].mean() for label in shown]
        offset = 0.3 * (number - (len(values) - 1) / 2) / max(len(values) - 1, 1)
        ax.plot(
            means,
            np.arange(len(rows)) + offset,
            **STYLES[number] | {"linestyle": ""},
            label=f"{name}: mean {means[0]:.2f}",
        )
    ax.axhline(0.5, color="0.4", linewidth=0.8)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(
        xlabel=f"mean silhouette in {space} (no unit; 1 apart, 0 touching)",
        ylabel="true class",
        ylim=(len(rows) - 0.5, -0.5),
        title=title,
    )
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure


def embeddings(
    planes: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
    captions: Mapping[str, str] | None = None,
    title: str | None = None,
    **options: Any,
) -> Figure:
    """Plots the features of two models side by side, and their silhouettes below.

    Args:
        planes: Dict of two models' names -> array of shape `(N, 2)`, as for
            `embedding`.
        values: Dict of the same names -> array of shape `(N,)`, as for `silhouettes`.
        labels: Integers of shape `(N,)`: the true classes.
        class_names: Names of the classes. Defaults to `None`: their numbers.
        captions: Dict of the same names -> text below the name. Defaults to `None`.
        title: Dataset, model, training. Defaults to `None`.
        **options: As `method` and `size` of `embedding`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    if len(planes) != 2 or set(planes) != set(values):
        raise InputError(
            "`planes` and `values` must be of the same two models. "
            f"Received: {list(planes)} and {list(values)}"
        )
    figure = new_figure(7.0, 7.7)
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 3))
    for column, (name, plane) in enumerate(planes.items()):
        ax = figure.add_subplot(grid[0, column])
        ax.set_box_aspect(1)
        caption = f"{name}\n{captions[name]}" if captions else name
        embedding(plane, labels, class_names, ax, caption, **options)
        # Smaller than usual, so that two stand side by side.
        ax.set_title(ax.get_title(), fontsize="medium")
        if column:
            ax.set_ylabel("")
    silhouettes(values, labels, class_names, figure.add_subplot(grid[1, :]))
    figure.suptitle(title)
    return figure


def _most_frequent(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns the classes that are drawn, in their order, and how many there are."""
    classes, counts = np.unique(labels, return_counts=True)
    chosen = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return np.sort(classes[chosen]), len(classes)


def _class_name(label: int, class_names: Sequence[str] | None) -> str:
    """Returns the name of a class, or its number as text."""
    return str(label if class_names is None else class_names[label])

"""What all figures share: how they are made, and how series differ."""

from typing import Any, TypeAlias

from keras_gce.errors import InputError

__all__ = [
    "COLOURS",
    "MARKERS",
    "STYLES",
    "Axes",
    "Figure",
    "axes_or_new",
    "new_figure",
]

# matplotlib's, which is imported when something is drawn.
Axes: TypeAlias = Any
Figure: TypeAlias = Any

# Okabe and Ito's colours, which colour-blind readers tell apart, and two greys.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"),
    *("#CC79A7", "#000000", "#F0E442", "#999999", "#555555"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#000000", "marker": "^", "linestyle": ":"},
    {"color": "#009E73", "marker": "D", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "v", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (1, 3))},
)


def new_figure(width: float = 6.4, height: float = 4.2) -> Figure:
    """Returns a new matplotlib `Figure` of a size in inches.

    Raises:
        InputError: If matplotlib is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise InputError(
            "Figures must have matplotlib installed: pip install "
            f'"keras_gce[plot]". Received: {error}'
        ) from error
    # Not through pyplot, which would keep each figure in memory.
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def axes_or_new(
    ax: Axes | None, width: float = 6.4, height: float = 4.2
) -> tuple[Figure, Axes]:
    """Returns a figure and its axes: those of `ax`, or new ones where it is `None`."""
    if ax is not None:
        return ax.figure, ax
    figure = new_figure(width, height)
    return figure, figure.subplots()

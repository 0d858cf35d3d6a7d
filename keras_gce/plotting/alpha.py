"""Alpha against accuracy."""

from typing import Any

from keras_gce.plotting.axes import STYLES, Axes, Figure, axes_or_new

__all__ = ["alpha_accuracy"]


def alpha_accuracy(search: Any, ax: Axes | None = None) -> Figure:
    """Plots the accuracies of an alpha search against alpha.

    Args:
        search: What `keras_gce.tuning.search_alpha` returned.
        ax: A matplotlib `Axes` to draw into. Defaults to `None`: a new figure.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If matplotlib is not installed.
    """
    figure, ax = axes_or_new(ax)
    trials = sorted(search.completed, key=lambda trial: trial.alpha)
    alphas = [trial.alpha for trial in trials]
    for (name, label), style in zip(
        (
            ("clean_accuracy", "clean"),
            ("crossentropy_accuracy", "robust, attack through cross-entropy"),
            ("adaptive_accuracy", "robust, adaptive (worst case)"),
        ),
        STYLES[:3],
        strict=True,
    ):
        ax.plot(alphas, [100 * getattr(t, name) for t in trials], label=label, **style)
    ax.axvline(
        search.best_alpha,
        color="0.6",
        linewidth=1,
        zorder=0,
        label=f"best by {search.objective}: alpha {search.best_alpha:.3g}",
    )
    ax.set(
        xlabel="alpha, the exponent of the guiding factor",
        ylabel="accuracy on the validation part (%)",
        ylim=(0, 102),
    )
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return figure

"""A training, epoch by epoch."""

from collections.abc import Mapping
from typing import Any

from keras_gce.errors import InputError
from keras_gce.plotting.axes import STYLES, Axes, Figure, axes_or_new, new_figure

__all__ = ["training_curves"]

ACCURACIES = {
    "accuracy": "training batches",
    "val_accuracy": "validation, clean",
    "val_robust_accuracy": "validation, robust",
}
LOSSES = {"loss": "training batches", "val_loss": "validation, clean"}


def training_curves(
    history: Any,
    ax: Axes | None = None,
    title: str | None = None,
    attack: Any = None,
    every: int = 1,
    training: str = "training batches",
) -> Figure:
    """Plots clean and robust accuracy, and the loss, against the epoch.

    Args:
        history: What `fit` returned, or the dict in it: lists of "accuracy",
            "val_accuracy", "val_robust_accuracy" (see
            `keras_gce.callbacks.RobustAccuracy`), "loss" and "val_loss", of which
            those that are there are drawn.
        ax: A matplotlib `Axes` to draw the accuracies into, without the losses.
            Defaults to `None`: a new figure with both.
        title: Dataset, model, training. Defaults to `None`.
        attack: The attack of the robust accuracy, or a list of them; the legend names
            them. Defaults to `None`.
        every: Epochs between two measurements of the robust accuracy, as given to
            `RobustAccuracy`. Defaults to 1.
        training: What "accuracy" and "loss" are measured on, for the legend: in
            adversarial training the perturbed batches. Defaults to
            "training batches".

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If `history` has no accuracy, or `every` does not fit it, or
            matplotlib is missing.
    """
    logs = history if isinstance(history, Mapping) else history.history
    accuracies = {name: logs[name] for name in ACCURACIES if name in logs}
    losses = {name: logs[name] for name in LOSSES if name in logs}
    if not accuracies:
        raise InputError(
            f"`history` must have one of {', '.join(ACCURACIES)}. "
            f"Received: {', '.join(logs) or 'nothing'}"
        )
    epochs = max(map(len, (*accuracies.values(), *losses.values())))
    measured = [n for n in range(1, epochs + 1) if n % every == 0 or n == epochs]
    labels = {**ACCURACIES, **LOSSES, "accuracy": training, "loss": training}
    if attack is not None:
        labels["val_robust_accuracy"] += f", {_described(attack)}"
    below = None
    if ax is None and losses:
        figure = new_figure(6.4, 6.0)
        ax, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    else:
        figure, ax = axes_or_new(ax)
    styles = dict(zip(ACCURACIES, STYLES, strict=False))
    styles |= {"loss": STYLES[0], "val_loss": STYLES[1]}
    for axis, series, scale in ((ax, accuracies, 100), (below, losses, 1)):
        if axis is None:
            continue
        for name, values in series.items():
            x = [*range(1, epochs + 1)]
            if name == "val_robust_accuracy":
                x = measured
            if len(values) != len(x):
                raise InputError(
                    "`every` must be that of the history, whose lists must have a "
                    f"value an epoch. Received: every={every}, {name} with "
                    f"{len(values)} values in {epochs} epochs"
                )
            axis.plot(
                x,
                [scale * value for value in values],
                label=labels[name],
                markersize=5,
                markevery=max(1, epochs // 40),
                **styles[name],
            )
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.legend(frameon=False)
    ax.set(ylabel="accuracy (%)", ylim=(-2, 102), title=title)
    if below is not None:
        below.set_ylabel("loss (no unit)")
    last = below or ax
    last.set_xlabel("epoch")
    last.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _described(attack: Any) -> str:
    """PGD linf eps 0.1 (crossentropy); attacks that differ in their loss once."""
    attacks = attack if isinstance(attack, (list, tuple)) else [attack]
    losses: dict[str, list[str | None]] = {}
    for one in attacks:
        budget = "" if one.eps is None else f" {one.norm} eps {one.eps:g}"
        losses.setdefault(one.name + budget, []).append(
            one.loss if isinstance(one.loss, str) or one.loss is None else "own loss"
        )
    return " and ".join(
        f"{name} ({', '.join(filter(None, of_it))})" if any(of_it) else name
        for name, of_it in losses.items()
    )

"""Differences of two trainings, seed by seed, beside the course of both."""

from collections.abc import Mapping, Sequence

from keras_gce.plotting.axes import STYLES, Figure, new_figure

__all__ = ["paired_differences"]


def paired_differences(
    differences: Mapping[str, Mapping[str, Sequence[float]]],
    intervals: Mapping[str, Mapping[str, tuple[float, float] | None]],
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    title: str | None = None,
) -> Figure:
    """Plots differences of accuracies with their intervals, and the curves.

    Args:
        differences: Dict of a training -> dict of an attack -> the difference in
            points, seed by seed.
        intervals: The same -> the 95% interval of the mean, or `None`.
        curves: Dict of a training -> dict of a loss -> epochs, and robust accuracy in
            %.
        title: Dataset, model, radius. Defaults to `None`.

    Returns:
        The matplotlib `Figure`.

    Raises:
        InputError: If matplotlib is not installed.
    """
    attacks = list(
        dict.fromkeys(key for group in differences.values() for key in group)
    )
    figure = new_figure(9.6, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(6, 5))
    for number, (training, group) in enumerate(differences.items()):
        style = {k: v for k, v in STYLES[number].items() if k != "linestyle"}
        # Trainings beside each other in an attack's band.
        shift = 0.3 * (number - (len(differences) - 1) / 2)
        for attack, values in group.items():
            y = attacks.index(attack) + shift
            middle, ends = sum(values) / len(values), intervals[training][attack]
            left.plot(
                values, [y - 0.09] * len(values), "|", color=style["color"], alpha=0.6
            )
            error = None if ends is None else [[middle - ends[0]], [ends[1] - middle]]
            left.errorbar(
                [middle],
                [y],
                xerr=error,
                capsize=3,
                linestyle="none",
                label=training if attack == attacks[0] else None,
                **style,
            )
    left.axvline(0, color="0.4", linewidth=1, zorder=0)
    left.set(
        yticks=range(len(attacks)),
        yticklabels=attacks,
        xlabel="GCE minus cross-entropy (points); mean, 95% interval, each seed",
        ylim=(len(attacks) - 0.5, -0.5),
    )
    # A training has its colour on both sides, the second loss a dash and an open mark.
    for (training, losses), style in zip(curves.items(), STYLES, strict=False):
        looks = [{"linestyle": "-"}, {"linestyle": "--", "markerfacecolor": "white"}]
        for (loss, (epochs, percent)), look in zip(losses.items(), looks, strict=False):
            label = f"{training}, {loss}"
            right.plot(epochs, percent, label=label, markersize=4, **{**style, **look})
    right.set(xlabel="epoch", ylabel="robust accuracy (%) under PGD, mean")
    right.xaxis.get_major_locator().set_params(integer=True)
    for axis in (left, right):
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        # Below, where it covers nothing.
        axis.legend(
            frameon=False,
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
        )
    figure.suptitle(title)
    return figure

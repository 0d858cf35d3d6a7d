"""The outer losses' runs as a table and a picture: differences paired by the seed."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from keras_gce import plotting
from keras_gce.recipes.given import Source
from keras_gce.recipes.paired import Paired
from keras_gce.recipes.recipe import Recipe
from keras_gce.recipes.reproduction import LOSS_NAMES, Figure, mean

__all__ = ["LOSSES", "MEASURES", "NAME", "TRAININGS", "Run", "figure"]

NAME = "outer_loss"
LOSSES = ("crossentropy", "guided_complement_entropy")
# Objective -> how the table and the picture call it.
TRAININGS = {None: "PGD adversarial training", "trades": "TRADES"}
# Key of an accuracy -> how they call the attack.
MEASURES = {
    "clean": "without attack",
    "training": "PGD, training loss (the paper's)",
    "crossentropy": "PGD, cross-entropy",
    "autoattack": "AutoAttack",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What came of one model.

    Args:
        accuracies: Dict of the keys of `MEASURES` -> accuracy in %.
        curve: List of dicts, one for each epoch at which it was measured.
    """

    accuracies: dict[str, float]
    curve: list[dict[str, float]]


def figure(
    runs: Mapping[Source, Sequence[Run]],
    seeds: Sequence[int],
    train_images: int,
    examples: int,
) -> Figure:
    """Returns the table, the numbers and the picture.

    Args:
        runs: Dict of each recipe -> its runs, one for each seed.
        seeds: The seeds.
        train_images: Number of training images.
        examples: Number of test images.
    """
    recipes = {(r.objective, r.loss): r for r in runs if isinstance(r, Recipe)}
    first = recipes[None, LOSSES[0]]
    rows, trainings = [], []
    pairs: dict[str, dict[str, Paired]] = {}
    for objective, name in TRAININGS.items():
        groups = [runs[recipes[objective, loss]] for loss in LOSSES]
        pairs[name] = {}
        for key, attack in MEASURES.items():
            both = [[run.accuracies[key] for run in group] for group in groups]
            paired = pairs[name][key] = Paired.of(*both)
            rows.append([name, attack, *map(mean, both), *_cells(paired)])
        trainings.append(
            {
                "training": name,
                "models": [
                    {
                        "recipe": dataclasses.asdict(recipes[objective, loss]),
                        "accuracies_percent": [run.accuracies for run in group],
                        "curves": [run.curve for run in group],
                    }
                    for loss, group in zip(LOSSES, groups, strict=True)
                ],
                "differences": {k: v.to_dict() for k, v in pairs[name].items()},
            }
        )
    curves = {
        name: {
            LOSS_NAMES[loss]: _mean_curve(runs[recipes[objective, loss]])
            for loss in LOSSES
        }
        for objective, name in TRAININGS.items()
    }
    title = f"{first.dataset}, {first.model}, linf eps {first.eps:.3g}"
    return Figure(
        name=NAME,
        caption=f"{first.dataset}, {first.described} and TRADES (beta 6) of the same, "
        f"the first {train_images} training images, {len(seeds)} seed(s), the first "
        f"{examples} test images. Accuracy % "
        f"{'(mean ± standard deviation over the seeds) ' * (len(seeds) > 1)}"
        "of models that descend cross-entropy and GCE (alpha 1/3); their difference in "
        "points, paired over the seeds: its mean, Student's 95% interval, the mean in "
        "standard deviations of the difference, and in how many seeds GCE is ahead.",
        columns=[
            "training",
            "attack",
            "cross-entropy",
            "GCE",
            "GCE - cross-entropy",
            "95% interval",
            "effect",
            "GCE ahead",
        ],
        rows=rows,
        numbers={
            "train_images": train_images,
            "examples": examples,
            "seeds": list(seeds),
            "trainings": trainings,
        },
        picture=plotting.paired_differences(
            {
                name: {MEASURES[key]: pair.differences for key, pair in group.items()}
                for name, group in pairs.items()
            },
            {
                name: {MEASURES[key]: pair.interval for key, pair in group.items()}
                for name, group in pairs.items()
            },
            curves,
            title=f"{title}: {len(seeds)} seed(s), {examples} test images",
        ),
    )


def _cells(paired: Paired) -> list[str]:
    """The difference, as a row of the table has it."""
    ends = "–"
    if paired.interval is not None:
        ends = "{:+.2f} to {:+.2f}".format(*paired.interval)
    effect = "–" if paired.effect is None else f"{paired.effect:+.2f}"
    count = len(paired.differences)
    return [f"{paired.mean:+.2f}", ends, effect, f"{paired.wins} of {count}"]


def _mean_curve(group: Sequence[Run]) -> tuple[list[float], list[float]]:
    """Returns epochs and mean robust accuracy in %, where all seeds have it."""
    points = [{p["epoch"]: p["robust_accuracy"] for p in run.curve} for run in group]
    epochs = sorted(set(points[0]).intersection(*points))
    return epochs, [100 * float(np.mean([p[e] for p in points])) for e in epochs]

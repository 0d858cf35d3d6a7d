"""Figures 1 to 4 of the paper: the features of the models, and the losses."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce import datasets, plotting
from keras_gce.checks import check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError, check_installed
from keras_gce.features import penultimate_features, silhouette_values, tsne
from keras_gce.files import PathLike
from keras_gce.names import FIGURES
from keras_gce.recipes.given import Source, described
from keras_gce.recipes.loss_figures import figure2, figure3
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.reproduction import (
    LOSS_NAMES,
    Figure,
    mean,
    reproduction_folder,
)
from keras_gce.recipes.runs import chosen_seeds, over_seeds

__all__ = ["reproduce_figure"]

OF_LOSSES = {"figure2": figure2, "figure3": figure3}
# Of the models, whose features are drawn: left and right.
LOSSES = ("crossentropy", "guided_complement_entropy")
# The paper's, of figure 4's adversarial training.
EPS = 0.02


@dataclasses.dataclass(frozen=True, eq=False)
class _Features:
    """What is drawn and measured of one model: see `keras_gce.features`."""

    plane: np.ndarray
    values: np.ndarray
    values_plane: np.ndarray
    accuracy: float

    @property
    def silhouette(self) -> float:
        return float(self.values.mean())

    @property
    def silhouette_plane(self) -> float:
        return float(self.values_plane.mean())


def reproduce_figure(
    figure: str,
    dataset_name: str | None,
    output: PathLike,
    epochs: int | None = None,
    seeds: int = 1,
    examples: int = 1000,
    model: str | None = None,
    data_dir: PathLike | None = None,
    models: Sequence[PathLike] | None = None,
    progress: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Figure:
    """Re-makes a figure of the paper.

    Figures 1 and 4 are t-SNE of the penultimate layer of a model trained with
    cross-entropy beside one trained with GCE, on natural images and with PGD
    adversarial training (eps 0.02). What a picture only suggests is measured beside
    it: the silhouette of the true classes, in the features and on the plane of t-SNE.
    Models and finished epochs are kept in `output`; the same call continues there,
    and the tables share the models. Figures 2 and 3 are of the losses alone.

    Args:
        figure: `"figure1"`, `"figure2"` (losses over the predictions of 3 classes),
            `"figure3"` (GCE where the wrong classes are equal) or `"figure4"`.
        dataset_name: `"mnist"`, `"cifar10"`, `"cifar100"`, `"tiny_imagenet"` or
            `"digits"`; `None` for figures 2 and 3. Of more than 10 classes the 10 most
            frequent are drawn.
        output: Path of the folder for models and, by the figure's name,
            `figure1.png`, `figure1.json` (the numbers) and `figure1.md`.
        epochs: Number of epochs. Defaults to `None`: the paper's.
        seeds: Number of seeds, >= 1: 0, 1, ...; the picture is of seed 0. Defaults
            to 1.
        examples: Number of test images, >= 20; the first ones. Defaults to 1000.
        model: Name of another network. Defaults to `None`: the paper's.
        data_dir: Folder of the datasets. Defaults to `None`.
        models: Paths of models that exist, in place of training; at most one for each
            of the two losses, in any order. Their losses are checked, and
            the caption says where they come from: a JSON file beside a
            model, its own name with `.json`. `epochs`, `seeds` and `model` are
            then unused. Defaults to `None`.
        progress: Whether to show progress on stderr. Defaults to `True`.
        seed: The one seed that is run, in place of `seeds`, so that seeds can be spread
            over machines; the call without it, in a folder that they share or that was
            brought together, then finds them done. Defaults to `None`.
        workers: How many runs are made at once, by processes of Ray (extra `ray`), each
            with a device of its own or a share of the cores, where `output` must be
            seen. Defaults to `None`: one after the other, in this process.
        address: The Ray cluster that these are of. Defaults to `None`: this machine.

    Returns:
        A `Figure`; `print` shows its caption and its numbers as Markdown.

    Raises:
        InputError: If an argument is not as described, or matplotlib or scikit-learn
            is missing.
    """
    if figure not in FIGURES:
        raise InputError(
            f"`figure` must be one of {', '.join(FIGURES)}. Received: figure={figure!r}"
        )
    chosen = chosen_seeds(seeds, seed)
    check_integer("examples", examples, least=20)
    if (figure in OF_LOSSES) != (dataset_name is None):
        raise InputError(
            "`dataset_name` must be None for figures 2 and 3, which are of losses "
            "alone, and a dataset's name for figures 1 and 4. "
            f"Received: figure={figure!r}, dataset_name={dataset_name!r}"
        )
    of_features = () if dataset_name is None else ("sklearn",)
    check_installed("The figure", "plot", "matplotlib", *of_features)
    output = reproduction_folder(output, figure)
    if dataset_name is None:
        made = OF_LOSSES[figure]()
        made.write(output)
        return made
    recipes = [
        recipe_for(
            dataset_name,
            loss,
            model=model,
            epochs=epochs,
            adversarial=figure == "figure4",
            eps=EPS if figure == "figure4" else None,
        )
        for loss in LOSSES
    ]
    dataset = datasets.load(dataset_name, data_dir=data_dir, validation=0)
    test = dataset.test.take(min(examples, len(dataset.test)))

    def measure(
        source: Source, network: keras.Model, folder: pathlib.Path
    ) -> tuple[_Features, str]:
        found = _measured(network, test)
        return (
            found,
            f"accuracy {found.accuracy:.2%}, silhouette {found.silhouette:.3f}",
        )

    runs = over_seeds(
        recipes, chosen, output, dataset, measure, models, progress, workers, address
    )
    made = _figure(figure, runs, test.labels, dataset.class_names, chosen[0])
    made.write(output)
    return made


def _measured(network: keras.Model, test: datasets.Split) -> _Features:
    images, labels = test.arrays()
    features = penultimate_features(network, images)
    plane = tsne(features)
    return _Features(
        plane=plane,
        values=silhouette_values(features, labels),
        values_plane=silhouette_values(plane, labels),
        accuracy=float(Classifier(network).right(images, labels).mean()),
    )


def _figure(
    name: str,
    runs: dict[Source, list[_Features]],
    labels: np.ndarray,
    class_names: Sequence[str],
    seed: int,
) -> Figure:
    """Returns figure 1 or 4."""
    recipe, first = next(iter(runs.items()))
    spread = ""
    if len(first) > 1:
        spread = "; mean ± standard deviation over the seeds, the picture is of seed 0"
    caption = (
        f"{recipe.dataset}, {described(runs)}, {len(first)} seed(s), the first "
        f"{len(labels)} test images, natural. "
        f"Silhouette of the true classes, from -1 to 1, 1 is far apart{spread}."
    )
    rows, models = [], []
    for recipe, group in runs.items():
        accuracy = [run.accuracy for run in group]
        features = [run.silhouette for run in group]
        plane = [run.silhouette_plane for run in group]
        percent = mean([100 * share for share in accuracy])
        rows.append([LOSS_NAMES[recipe.loss], percent, mean(features), mean(plane)])
        models.append(
            {
                "recipe": dataclasses.asdict(recipe),
                "accuracy": accuracy,
                "silhouette_features": features,
                "silhouette_tsne": plane,
            }
        )
    return Figure(
        name=name,
        caption=caption,
        columns=[
            "training loss",
            "accuracy %",
            "silhouette, features",
            "silhouette, t-SNE",
        ],
        rows=rows,
        numbers={"examples": len(labels), "tsne_seed": 0, "models": models},
        picture=_drawn(runs, labels, class_names, seed),
    )


def _drawn(
    runs: dict[Source, list[_Features]],
    labels: np.ndarray,
    class_names: Sequence[str],
    seed: int,
) -> Any:
    """Returns the picture, of the first seed."""
    recipe = next(iter(runs))
    first = {LOSS_NAMES[each.loss]: group[0] for each, group in runs.items()}
    return plotting.embeddings(
        {name: run.plane for name, run in first.items()},
        {name: run.values for name, run in first.items()},
        labels,
        class_names,
        captions={
            name: f"{run.accuracy:.1%} right; silhouette {run.silhouette:.2f} "
            f"(t-SNE {run.silhouette_plane:.2f})"
            for name, run in first.items()
        },
        title=f"{recipe.dataset}, {recipe.brief(seed)},\n"
        f"{len(labels)} natural test images",
    )

"""Figures 1 to 4 of the paper: the features of the models, and the losses."""

import dataclasses
import importlib.util
import io
import json

import keras
import numpy as np

from keras_gce import datasets, files, losses, plotting
from keras_gce.checks import check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.features import penultimate_features, silhouette_values, tsne
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.tables import NAMES, mean
from keras_gce.recipes.trainer import trained

__all__ = ["FIGURES", "reproduce_figure"]

FIGURES = ("figure1", "figure2", "figure3", "figure4")
# Of the models, whose features are drawn: left and right.
MODELS = ("crossentropy", "guided_complement_entropy")
# The paper's, of figure 4's adversarial training and of the losses drawn.
EPS = 0.02
ALPHAS = {"1": 1.0, "1/2": 1 / 2, "1/3": 1 / 3, "1/10": 1 / 10}
# Readers see them half as wide.
PIXELS = 1400


def reproduce_figure(
    figure,
    dataset_name,
    output,
    epochs=None,
    seeds=1,
    examples=1000,
    model=None,
    data_dir=None,
    progress=True,
):
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
        progress: Whether to show progress. Defaults to `True`.

    Returns:
        A summary, as Markdown: where the figure is, and its numbers.

    Raises:
        InputError: If an argument is not as described, or matplotlib or scikit-learn
            is missing.
    """
    if figure not in FIGURES:
        raise InputError(
            f"`figure` must be one of {', '.join(FIGURES)}. Received: figure={figure!r}"
        )
    check_integer("seeds", seeds, least=1)
    check_integer("examples", examples, least=20)
    of_losses = figure in ("figure2", "figure3")
    if of_losses != (dataset_name is None):
        raise InputError(
            "`dataset_name` must be None for figures 2 and 3, which are of losses "
            "alone, and a dataset's name for figures 1 and 4. "
            f"Received: figure={figure!r}, dataset_name={dataset_name!r}"
        )
    _check_installed("matplotlib", *[] if of_losses else ["sklearn"])
    output = files.output_folder(output)
    path = output / f"{figure}.png"
    if of_losses:
        drawn, lines, numbers = (_figure2 if figure == "figure2" else _figure3)()
    else:
        recipes = [
            recipe_for(
                dataset_name,
                loss,
                model=model,
                epochs=epochs,
                adversarial=figure == "figure4",
                eps=EPS if figure == "figure4" else None,
            )
            for loss in MODELS
        ]
        dataset = datasets.load(dataset_name, data_dir=data_dir)
        test = dataset.test.take(min(examples, len(dataset.test)))
        runs = [
            [
                _measured(recipe, dataset, test, seed, output, progress)
                for recipe in recipes
            ]
            for seed in range(seeds)
        ]
        drawn = _drawn(recipes, runs[0], test.labels, dataset.class_names)
        lines, numbers = _summary(recipes, runs, len(test))
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=PIXELS / drawn.get_size_inches()[0])
    files.write_bytes(path, buffer.getvalue())
    text = "\n".join([*lines, "", f"![{figure}]({path.name})"]) + "\n"
    files.write_text(output / f"{figure}.md", text)
    files.write_text(output / f"{figure}.json", json.dumps(numbers, indent=2) + "\n")
    return text


def _check_installed(*packages):
    """Refuses before the work, rather than after it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            "This figure must have matplotlib and scikit-learn installed: pip install "
            f'"keras_gce[plot]". Received: no {", ".join(missing)}'
        )


def _measured(recipe, dataset, test, seed, output, progress):
    """Returns what is drawn and measured of one model."""
    folder = output / f"{recipe.name}-seed{seed}"
    network = trained(recipe, dataset, seed, folder, progress)
    images, labels = test.arrays()
    features = penultimate_features(network, images)
    plane = tsne(features)
    right = Classifier(network).right(images, labels)
    run = {
        "plane": plane,
        "values": silhouette_values(features, labels),
        "values_plane": silhouette_values(plane, labels),
        "accuracy": float(right.mean()),
    }
    if progress:
        print(
            f"{recipe.dataset}, {recipe.name}, seed {seed}: accuracy "
            f"{run['accuracy']:.2%}, silhouette {run['values'].mean():.3f}",
            flush=True,
        )
    return run


def _drawn(recipes, runs, labels, class_names):
    runs = dict(zip((NAMES[recipe.loss] for recipe in recipes), runs, strict=True))
    recipe = recipes[0]
    return plotting.embeddings(
        {name: run["plane"] for name, run in runs.items()},
        {name: run["values"] for name, run in runs.items()},
        labels,
        class_names,
        captions={
            name: f"{run['accuracy']:.1%} right; silhouette "
            f"{run['values'].mean():.2f} (t-SNE {run['values_plane'].mean():.2f})"
            for name, run in runs.items()
        },
        title=f"{recipe.dataset}, {recipe.model}, {recipe.epochs} epochs, "
        f"{_training(recipe)},\n{len(labels)} natural test images, seed 0",
    )


def _training(recipe):
    if recipe.eps is None:
        return "natural training"
    return f"adversarial training (PGD, linf, eps {recipe.eps:g})"


def _summary(recipes, runs, n_examples):
    """Returns the lines on figure 1 or 4, and its numbers."""
    recipe, spread = recipes[0], ""
    if len(runs) > 1:
        spread = "; mean ± standard deviation over the seeds, the picture is of seed 0"
    lines = [
        f"{recipe.dataset}, {recipe.model}, {_training(recipe)}, {recipe.epochs} "
        f"epochs, {len(runs)} seed(s), the first {n_examples} test images, natural. "
        f"Silhouette of the true classes, from -1 to 1, 1 is far apart{spread}.",
        "",
        "| training loss | accuracy % | silhouette, features | silhouette, t-SNE |",
        "|---|---|---|---|",
    ]
    numbers = {"examples": n_examples, "tsne_seed": 0, "models": []}
    for column, recipe in enumerate(recipes):
        group = [run[column] for run in runs]
        figures = {
            "accuracy": [run["accuracy"] for run in group],
            "silhouette_features": [float(run["values"].mean()) for run in group],
            "silhouette_tsne": [float(run["values_plane"].mean()) for run in group],
        }
        cells = [NAMES[recipe.loss], mean([100 * a for a in figures["accuracy"]])]
        cells += [
            mean(figures[f"silhouette_{space}"]) for space in ("features", "tsne")
        ]
        lines.append(f"| {' | '.join(cells)} |")
        numbers["models"].append({"recipe": dataclasses.asdict(recipe), **figures})
    return lines, numbers


def _figure2():
    named = {"complement entropy": losses.ComplementEntropy(normalize=True)}
    for text, alpha in ALPHAS.items():
        named[f"GCE, alpha {text}"] = losses.GuidedComplementEntropy(alpha)
    lines = [
        "The losses over the predictions of 3 classes, normalised, class 0 true.",
        "",
        "| loss | minimum | where (p0, p1, p2) |",
        "|---|---|---|",
    ]
    numbers = []
    for name, loss in named.items():
        points, values = plotting.simplex_values(loss)
        where = plotting.least_predictions(points, values)
        ends = [f"({', '.join(f'{p:.2f}' for p in end)})" for end in where[[0, -1]]]
        text = ends[0] if len(where) == 1 else f"from {ends[0]} to {ends[1]}, all along"
        lines.append(f"| {name} | {values.min():.2f} | {text} |")
        numbers.append(
            {"loss": name, "minimum": values.min(), "where": where[[0, -1]].tolist()}
        )
    title = "Losses over the predictions of 3 classes, normalised"
    return plotting.loss_simplexes(named, title=title), lines, numbers


def _figure3():
    alphas = [0.0, *sorted(ALPHAS.values())]
    figure = plotting.loss_profile(alphas)
    line = np.array([(0.1, *[0.1] * 9), (0.5, *[0.5 / 9] * 9), (1.0, *[0.0] * 9)])
    lines = [
        "GCE of 10 classes, normalised, the 9 wrong ones equally probable.",
        "",
        "| alpha | p = 0.1 | p = 0.5 | p = 1 |",
        "|---|---|---|---|",
    ]
    numbers = []
    for alpha in alphas:
        values = losses.guided_complement_entropy(
            np.zeros(3, "int32"), line.astype("float32"), alpha
        )
        values = keras.ops.convert_to_numpy(values).tolist()
        cells = [f"{alpha:.3g}", *(f"{value:.3f}" for value in values)]
        lines.append(f"| {' | '.join(cells)} |")
        numbers.append({"alpha": alpha, "p": line[:, 0].tolist(), "loss": values})
    return figure, lines, numbers

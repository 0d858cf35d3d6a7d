"""Table 2 of the paper: the error on natural images, for each alpha."""

import dataclasses
import json

from keras_gce import datasets, files
from keras_gce.checks import check_integer
from keras_gce.errors import InputError
from keras_gce.recipes.paper_results import ALPHAS, ERRORS
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.tables import length, mean
from keras_gce.recipes.trainer import trained
from keras_gce.seeds import seeded

__all__ = ["reproduce_table2"]


def reproduce_table2(
    dataset_name,
    output,
    epochs=None,
    seeds=3,
    model=None,
    dtype_policy=None,
    data_dir=None,
    progress=True,
):
    """Re-runs the paper's Table 2: the test error of cross-entropy and of GCE.

    Trains a model with cross-entropy and one with GCE at each alpha (1/2, 1/3, 1/4,
    1/5) for each seed. Models and finished epochs are kept in `output`; the same call
    continues there, and Table 3 shares the models.

    Args:
        dataset_name: `"mnist"`, `"cifar10"`, `"cifar100"`, `"tiny_imagenet"`, or
            `"digits"`.
        output: Path of the folder for models, `table2.md` and `table2.json`.
        epochs: Number of epochs. Defaults to `None`: the paper's.
        seeds: Number of seeds, >= 1: 0, 1, ... Defaults to 3.
        model: Name of another network. Defaults to `None`: the paper's.
        dtype_policy: That of the training, see `recipe_for`. Defaults to `None`.
        data_dir: Folder of the datasets. Defaults to `None`.
        progress: Whether to show progress. Defaults to `True`.

    Returns:
        The table, as Markdown.

    Raises:
        InputError: If an argument is not as described.
    """
    check_integer("seeds", seeds, least=1)
    if dataset_name not in (*ERRORS, "digits"):
        raise InputError(
            f"`dataset_name` must be one of {', '.join(ERRORS)}, digits. "
            f"Received: dataset_name={dataset_name!r}"
        )
    output = files.output_folder(output)
    dataset = datasets.load(dataset_name, data_dir=data_dir)
    settings = {"model": model, "epochs": epochs, "dtype_policy": dtype_policy}
    recipes = [recipe_for(dataset_name, "crossentropy", **settings)]
    recipes += [
        recipe_for(dataset_name, "guided_complement_entropy", alpha, **settings)
        for alpha in ALPHAS
    ]
    errors = [[] for _ in recipes]
    for seed in range(seeds):
        for recipe, group in zip(recipes, errors, strict=True):
            folder = output / f"{recipe.name}-seed{seed}"
            network = trained(recipe, dataset, seed, folder, progress)
            with seeded(seed):  # PyTorch's loader draws.
                _, accuracy = network.evaluate(dataset.test.batches(500), verbose=0)
            group.append(100 * (1 - accuracy))
            if progress:
                print(
                    f"{dataset_name}, {recipe.name}, seed {seed}: error "
                    f"{group[-1]:.2f}%",
                    flush=True,
                )
    text = _table(recipes, errors, len(dataset.test))
    files.write_text(output / "table2.md", text)
    summary = [
        {"recipe": dataclasses.asdict(recipe), "error_percent": group}
        for recipe, group in zip(recipes, errors, strict=True)
    ]
    files.write_text(output / "table2.json", json.dumps(summary, indent=2) + "\n")
    return text


def _table(recipes, errors, n_examples):
    recipe = recipes[0]
    # The paper has no digits; MNIST's figures are the nearest there are.
    on_digits = recipe.dataset == "digits"
    lines = [
        f"{recipe.dataset}, {recipe.model}, {length(recipe)}, "
        f"{len(errors[0])} seed(s), all {n_examples} test images. Error % without "
        f"attack{', mean ± standard deviation over the seeds' * (len(errors[0]) > 1)}.",
        "",
        f"| loss | paper{' (on MNIST)' * on_digits} | here |",
        "|---|---|---|",
    ]
    paper = ERRORS["mnist" if on_digits else recipe.dataset]
    names = ["cross-entropy", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5"]
    for name, figure, group in zip(names, paper, errors, strict=True):
        lines.append(f"| {name} | {figure:.2f} | {mean(group)} |")
    return "\n".join(lines) + "\n"

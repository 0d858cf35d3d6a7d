"""Table 2 of the paper: the error on natural images, for each alpha."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from keras_gce import datasets
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.recipes.given import Source, described
from keras_gce.recipes.paper_results import ALPHAS, ERRORS, beside
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.reproduction import (
    Reproduction,
    markdown_table,
    mean,
    reproduction_folder,
)
from keras_gce.recipes.runs import chosen_seeds, over_seeds

__all__ = ["ErrorTable", "reproduce_table2"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ErrorTable(Reproduction):
    """What `reproduce_table2` returns.

    Args:
        name: `"table2"`.
        errors: Dict of the recipe, or of the model that was given, -> list of the
            error in %, one for each seed.
        n_examples: Number of test images.
    """

    errors: dict[Source, list[float]]
    n_examples: int

    def to_markdown(self) -> str:
        """Returns the errors beside the paper's, as Markdown."""
        recipe, first = next(iter(self.errors.items()))
        dataset, column = beside(recipe.dataset)
        spread = ", mean ± standard deviation over the seeds" if len(first) > 1 else ""
        head = (
            f"{recipe.dataset}, {described(self.errors)}, {len(first)} seed(s), all "
            f"{self.n_examples} test images. Error % without attack{spread}."
        )
        columns = ["loss", column, "here"]
        names = ["cross-entropy", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5"]
        # Of models that were given, some may be missing.
        found = {source.alpha: mean(group) for source, group in self.errors.items()}
        rows = [
            (name, f"{figure:.2f}", found.get(alpha, "–"))
            for name, alpha, figure in zip(
                names, (None, *ALPHAS), ERRORS[dataset], strict=True
            )
        ]
        return "\n".join([head, "", *markdown_table(columns, rows)]) + "\n"

    def to_dict(self) -> list[dict[str, Any]]:
        """Returns the errors: what the `.json` holds, a list with a dict a recipe."""
        return [
            {"recipe": dataclasses.asdict(recipe), "error_percent": group}
            for recipe, group in self.errors.items()
        ]


def reproduce_table2(
    dataset_name: str,
    output: PathLike,
    epochs: int | None = None,
    seeds: int = 3,
    model: str | None = None,
    dtype_policy: str | None = None,
    data_dir: PathLike | None = None,
    models: Sequence[PathLike] | None = None,
    progress: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> ErrorTable:
    """Re-runs the paper's Table 2: the test error of cross-entropy and of GCE.

    Trains a model with cross-entropy and one with GCE at each alpha (1/2, 1/3, 1/4,
    1/5) for each seed, or takes `models`. Models and finished epochs are kept in
    `output`; the same call continues there, and Table 3 shares the models.

    Args:
        dataset_name: `"mnist"`, `"cifar10"`, `"cifar100"`, `"tiny_imagenet"`, or
            `"digits"`.
        output: Path of the folder for models, `table2.md` and `table2.json`.
        epochs: Number of epochs. Defaults to `None`: the paper's.
        seeds: Number of seeds, >= 1: 0, 1, ... Defaults to 3.
        model: Name of another network. Defaults to `None`: the paper's.
        dtype_policy: That of the training, see `recipe_for`. Defaults to `None`.
        data_dir: Folder of the datasets. Defaults to `None`.
        models: Paths of models that exist, in place of training; at most one for each
            of the five losses, in any order. Their losses are checked, and
            the table's first line says where they come from: a JSON file beside a
            model, its own name with `.json`. `epochs`, `seeds`, `model` and
            `dtype_policy` are
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
        An `ErrorTable`; `print` shows it as Markdown.

    Raises:
        InputError: If an argument is not as described.
    """
    chosen = chosen_seeds(seeds, seed)
    if dataset_name not in (*ERRORS, "digits"):
        raise InputError(
            f"`dataset_name` must be one of {', '.join(ERRORS)}, digits. "
            f"Received: dataset_name={dataset_name!r}"
        )
    output = reproduction_folder(output, "table2")
    dataset = datasets.load(dataset_name, data_dir=data_dir, validation=0)
    settings: dict[str, Any] = {
        "model": model,
        "epochs": epochs,
        "dtype_policy": dtype_policy,
    }
    recipes = [recipe_for(dataset_name, "crossentropy", **settings)]
    recipes += [
        recipe_for(dataset_name, "guided_complement_entropy", alpha, **settings)
        for alpha in ALPHAS
    ]

    def measure(
        source: Source, network: keras.Model, folder: pathlib.Path
    ) -> tuple[float, str]:
        right = Classifier(network).right(*dataset.test.arrays())
        error = 100 * (1 - float(right.mean()))
        return error, f"error {error:.2f}%"

    table = ErrorTable(
        name="table2",
        errors=over_seeds(
            recipes,
            chosen,
            output,
            dataset,
            measure,
            models,
            progress,
            workers,
            address,
        ),
        n_examples=len(dataset.test),
    )
    table.write(output)
    return table

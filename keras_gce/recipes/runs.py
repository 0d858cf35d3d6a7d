"""Runs: a recipe from its data to its report, and recipes seed by seed."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import keras

from keras_gce import datasets, evaluation, files, saving
from keras_gce.attacks import Attack
from keras_gce.checks import check_integer, check_seed
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.progress import say
from keras_gce.recipes.given import GivenModel, Source, given_models
from keras_gce.recipes.paper_attacks import paper_attacks
from keras_gce.recipes.recipe import Recipe
from keras_gce.recipes.trainer import trained
from keras_gce.workers import check_workers, spread

__all__ = ["attacked", "chosen_attacks", "chosen_seeds", "over_seeds", "run"]

Result = TypeVar("Result")
Callbacks: TypeAlias = Callable[
    [Recipe, pathlib.Path], Sequence[keras.callbacks.Callback]
]


def over_seeds(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    output: pathlib.Path,
    dataset: datasets.Dataset,
    measure: Callable[[Source, keras.Model, pathlib.Path], tuple[Result, str]],
    models: Sequence[PathLike] | None = None,
    progress: bool = True,
    workers: int | None = None,
    address: str | None = None,
    callbacks: Callbacks | None = None,
) -> dict[Source, list[Result]]:
    """Measures each recipe's model with each seed: all with the first, then the next.

    Args:
        recipes: The recipes.
        seeds: The seeds; of models that exist there is one run.
        output: Folder in which each run has one of its own, by the recipe's name.
        dataset: The `Dataset` to train on.
        measure: Function `(source, model, folder)` of one run: what came of it, and
            the same in a few words.
        models: Paths of models that exist, in place of those that the recipes train;
            see `given_models`. Defaults to `None`.
        progress: Whether progress and those words are said on stderr. Defaults to
            `True`.
        workers: How many runs are made at once, by Ray's workers; see
            `keras_gce.workers.spread`. Defaults to `None`: one, in this process.
        address: The Ray cluster that these are of. Defaults to `None`: this machine.
        callbacks: Function of a run's recipe and folder: the Keras callbacks of its
            training. Defaults to `None`: it has none.

    Returns:
        Dict of the recipe, or the `GivenModel`, -> what came of it, a list with one for
        each seed.
    """
    if workers is not None:
        check_workers(workers, address)
    sources: Sequence[Source] = recipes
    given: dict[GivenModel, keras.Model] = {}
    if models is not None:
        given = given_models(models, recipes, dataset)
        sources, seeds = list(given), [0]
    runs = [(seed, source) for seed in seeds for source in sources]
    folders = [output / source.folder(seed) for seed, source in runs]
    found: dict[str, Result] = {}
    for name, (result, words) in _made(
        *(runs, folders, dataset, measure, given, progress, workers, address, callbacks)
    ):
        found[name] = result
        say(f"{recipes[0].dataset}, {name}: {words}", progress)
    results: dict[Source, list[Result]] = {source: [] for source in sources}
    for (_, source), folder in zip(runs, folders, strict=True):
        results[source].append(found[folder.name])
    return results


def _made(
    runs: Sequence[tuple[int, Source]],
    folders: Sequence[pathlib.Path],
    dataset: datasets.Dataset,
    measure: Callable[[Source, keras.Model, pathlib.Path], tuple[Result, str]],
    given: Mapping[GivenModel, keras.Model],
    progress: bool,
    workers: int | None,
    address: str | None,
    callbacks: Callbacks | None,
) -> Iterator[tuple[str, tuple[Result, str]]]:
    """Yields each run's folder and what came of it: as they come from workers."""
    if workers is not None:
        pieces = {
            folder.name: (seed, source, folder.absolute())
            for (seed, source), folder in zip(runs, folders, strict=True)
        }
        shared: tuple[Any, ...] = dataset, measure, {}, progress, callbacks
        yield from spread(_run, shared, pieces, workers, address, progress)
        return
    for (seed, source), folder in zip(runs, folders, strict=True):
        yield (
            folder.name,
            _run(dataset, measure, given, progress, callbacks, seed, source, folder),
        )


def _run(
    dataset: datasets.Dataset,
    measure: Callable[[Source, keras.Model, pathlib.Path], tuple[Result, str]],
    given: Mapping[GivenModel, keras.Model],
    progress: bool,
    callbacks: Callbacks | None,
    seed: int,
    source: Source,
    folder: pathlib.Path,
) -> tuple[Result, str]:
    """Trains a model, or finds it, and measures it: in a worker too."""
    if isinstance(source, Recipe):
        own = callbacks(source, folder) if callbacks is not None else ()
        model = trained(source, dataset, seed, folder, progress, own)
    else:
        model = given.get(source) or saving.load_model(source.path)
    return measure(source, model, files.output_folder(folder))


def chosen_seeds(seeds: int, seed: int | None) -> Sequence[int]:
    """Returns the seeds of a reproduction: so many from 0 on, or the one given."""
    check_integer("seeds", seeds, least=1)
    if seed is None:
        return range(seeds)
    check_seed(seed)
    return [int(seed)]


def run(
    recipe: Recipe,
    output: PathLike,
    seed: int = 0,
    examples: int = 1000,
    engine: str = "cleverhans",
    table: str = "table3",
    attacks: Sequence[str] | None = None,
    dataset: datasets.Dataset | None = None,
    data_dir: PathLike | None = None,
    progress: bool = True,
) -> evaluation.RobustnessReport:
    """Trains the model of a recipe and attacks it under all three threat models.

    The model, finished epochs and batches and the report are kept in `output`; the
    same call continues there, and runs of several tables share the model.

    Args:
        recipe: A `Recipe`.
        output: Path of the folder for `model.keras` and, by the table's name,
            `table3.json` and `table3.md`.
        seed: Decides the initial weights, the order and the augmentations, an integer
            in [0, 2**31). Defaults to 0.
        examples: Number of test images, >= 1; the first ones, at most all. Defaults
            to 1000.
        engine: `"cleverhans"` or `"keras_gce"`. Defaults to `"cleverhans"`.
        table: `"table3"`, `"table4"`, `"table5"` or `"table6"`: whose attacks; of
            Table 6's those with the eps that an adversarial recipe trains with.
            Defaults to `"table3"`.
        attacks: List of the names of those attacks of the table that are run, such as
            "fgsm". Defaults to `None`: all.
        dataset: The recipe's `Dataset`. Defaults to `None`: loaded by its name, without
            a validation part: all of train is trained on.
        data_dir: Folder of the datasets. Defaults to `None`.
        progress: Whether to show progress bars on stderr. Defaults to `True`.

    Returns:
        A `keras_gce.evaluation.RobustnessReport`, under the threat model "adaptive",
        whose rows hold those of the other two.

    Raises:
        InputError: If an argument is not as described, or `output` holds a run of
            other settings.
    """
    check_seed(seed)
    check_integer("examples", examples, least=1)
    chosen_attacks(recipe, engine, table, attacks)  # Refuses before the work.
    output = files.output_folder(output)
    if dataset is None:
        dataset = datasets.load(recipe.dataset, data_dir=data_dir, validation=0)
    model = trained(recipe, dataset, seed, output, progress)
    return attacked(
        recipe, model, output, dataset, examples, engine, table, attacks, progress
    )


def attacked(
    source: Source,
    model: keras.Model,
    output: pathlib.Path,
    dataset: datasets.Dataset,
    examples: int,
    engine: str,
    table: str,
    attacks: Sequence[str] | None,
    progress: bool,
) -> evaluation.RobustnessReport:
    """Runs a table's attacks on a model, and keeps the report; see `run`."""
    chosen, part = chosen_attacks(source, engine, table, attacks)
    parts = filter(None, [table, engine, str(examples), source.version, *part])
    report = evaluation.evaluate(
        model,
        dataset.test.take(min(examples, len(dataset.test))),
        chosen,
        checkpoint=output / "-".join(parts),
        progress=progress,
        diagnostics=False,  # A table shows rows.
    )
    files.write_text(output / f"{table}.json", report.to_json())
    files.write_text(output / f"{table}.md", report.to_markdown())
    return report


def chosen_attacks(
    recipe: Source, engine: str, table: str, names: Sequence[str] | None
) -> tuple[list[Attack], list[str]]:
    """Returns the attacks of a table to run, and their names if they are not all."""
    attacks = paper_attacks(recipe.dataset, engine=engine, table=table)
    if table == "table6" and recipe.eps is not None:
        same = [attack for attack in attacks if attack.eps == recipe.eps]
        # The paper has no other eps: its attack, at that of the training.
        other: dict[str, Any] = {"eps": recipe.eps}
        attacks = same or [dataclasses.replace(attacks[0], **other)]
    known = list(dict.fromkeys(attack.name.lower() for attack in attacks))
    names = known if names is None else names
    if not names or set(names) - set(known):
        raise InputError(
            f"`attacks` must be among {', '.join(known)}. "
            f"Received: {', '.join(map(str, names)) or 'none'}"
        )
    part = [name for name in known if name in names and set(names) != set(known)]
    return [attack for attack in attacks if attack.name.lower() in names], part

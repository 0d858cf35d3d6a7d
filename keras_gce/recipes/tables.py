"""Tables 3 to 6 of the paper: accuracy under the attacks, loss beside loss."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_gce import datasets
from keras_gce.checks import check_integer
from keras_gce.evaluation import AttackResult, RobustnessReport
from keras_gce.files import PathLike
from keras_gce.recipes.given import Source, described
from keras_gce.recipes.paper_attacks import ITERATIONS, paper_attacks
from keras_gce.recipes.paper_results import ACCURACIES, TABLE_LOSSES, beside
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.reproduction import (
    LOSS_NAMES,
    Reproduction,
    markdown_table,
    mean,
    reproduction_folder,
)
from keras_gce.recipes.runs import attacked, chosen_attacks, chosen_seeds, over_seeds

__all__ = ["Table", "reproduce"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table(Reproduction):
    """What `reproduce` returns.

    Args:
        name: `"table3"`, `"table4"`, `"table5"` or `"table6"`.
        engine: `"cleverhans"` or `"keras_gce"`.
        reports: Dict of the recipe, or of the model that was given, -> list of its
            reports, one for each seed.
    """

    engine: str
    reports: dict[Source, list[RobustnessReport]]

    def to_markdown(self) -> str:
        """Returns the accuracies beside the paper's, as Markdown."""
        # Table 6 has models of several radii, each with a table of its own.
        parts = itertools.groupby(self.reports.items(), lambda run: run[0].eps)
        return "\n".join(_section(self.name, dict(runs)) for _, runs in parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns recipes and reports: what the `.json` holds."""
        runs = [
            {
                "recipe": dataclasses.asdict(recipe),
                "reports": [report.to_dict() for report in group],
            }
            for recipe, group in self.reports.items()
        ]
        return {"engine": self.engine, "runs": runs}


def reproduce(
    table: str,
    dataset_name: str,
    output: PathLike,
    epochs: int | None = None,
    seeds: int = 2,
    examples: int = 1000,
    engine: str = "cleverhans",
    attacks: Sequence[str] | None = None,
    model: str | None = None,
    dtype_policy: str | None = None,
    data_dir: PathLike | None = None,
    models: Sequence[PathLike] | None = None,
    progress: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Table:
    """Re-runs a table of the paper that has accuracies under attacks.

    Trains a model with each of the table's losses for each seed, or takes `models`,
    and attacks them under all three threat models at once; of JSMA and C&W, which know
    none of them, the table also has what their accuracy does not say: how often the
    target class was reached, and at what distortion. Models, finished epochs and
    batches, and reports are kept in `output`; the same call continues there, and tables
    of the same dataset share models in the same folder.

    Args:
        table: `"table3"`, `"table4"` (PGD on the larger datasets), `"table5"` (with
            COT) or `"table6"` (adversarial training).
        dataset_name: `"mnist"`, `"cifar10"` or `"digits"`; for Table 4 `"cifar100"` or
            `"tiny_imagenet"`.
        output: Path of the folder for models, reports and, by the table's name,
            `table3.md` and `table3.json`.
        epochs: Number of epochs. Defaults to `None`: the paper's.
        seeds: Number of seeds, >= 1: 0, 1, ... Defaults to 2.
        examples: Number of test images, >= 1; the first ones. Defaults to 1000.
        engine: `"cleverhans"` or `"keras_gce"`. Defaults to `"cleverhans"`.
        attacks: List of the names of those attacks of the table that are run, such as
            "fgsm". Defaults to `None`: all.
        model: Name of another network. Defaults to `None`: the paper's.
        dtype_policy: That of the training, see `recipe_for`. Defaults to `None`.
        data_dir: Folder of the datasets. Defaults to `None`.
        models: Paths of models that exist, in place of training; at most one for each
            of the losses (and radii), in any order. Their losses are checked, and
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
        A `Table`; `print` shows it as Markdown.

    Raises:
        InputError: If an argument is not as described.
    """
    chosen = chosen_seeds(seeds, seed)
    check_integer("examples", examples, least=1)
    # Refuses before the work.
    paper = paper_attacks(dataset_name, engine=engine, table=table)
    output = reproduction_folder(output, table)
    dataset = datasets.load(dataset_name, data_dir=data_dir, validation=0)

    def measure(
        source: Source, network: keras.Model, folder: pathlib.Path
    ) -> tuple[RobustnessReport, str]:
        report = attacked(
            source,
            network,
            folder,
            dataset,
            examples,
            engine,
            table,
            attacks,
            progress,
        )
        return report, f"clean accuracy {report.clean_accuracy:.2%}"

    adversarial = table == "table6"
    recipes = [
        recipe_for(
            dataset_name,
            loss,
            model=model,
            epochs=epochs,
            adversarial=adversarial,
            eps=eps,
            dtype_policy=dtype_policy,
        )
        for eps in (
            [float(attack.eps or 0) for attack in paper] if adversarial else [None]
        )
        for loss in TABLE_LOSSES[table]
    ]
    chosen_attacks(recipes[0], engine, table, attacks)
    reports = over_seeds(
        recipes, chosen, output, dataset, measure, models, progress, workers, address
    )
    made = Table(name=table, engine=engine, reports=reports)
    made.write(output)
    return made


def _section(table: str, reports: dict[Source, list[RobustnessReport]]) -> str:
    """Returns a table beside the paper's figures, for all three threat models."""
    runs, (recipe, *_) = list(reports.values()), reports
    first, seeds = runs[0][0], len(runs[0])
    dataset, column = beside(recipe.dataset)
    # Of models that were given, some may be missing.
    present = [TABLE_LOSSES[table].index(source.loss) for source in reports]
    paper = {
        key: [figures[i] for i in present]
        for key, figures in ACCURACIES[table][dataset].items()
    }
    names = " / ".join(LOSS_NAMES[recipe.loss] for recipe in reports)
    clean = [mean([100 * r.clean_accuracy for r in group]) for group in runs]
    columns = [
        "attack",
        "eps or gamma",
        column,
        "through the training loss",
        "through cross-entropy",
        "adaptive (worst case)",
    ]
    rows = []
    for key in first.worst_over_losses():
        attack, _, budget = key
        figures = paper.get((attack, budget))
        adaptive = [
            mean([100 * r.worst_over_losses()[key] for r in group]) for group in runs
        ]
        rows.append(
            [
                attack,
                budget.removeprefix("gamma ") or "–",
                " / ".join(f"{figure:.2f}" for figure in figures) if figures else "–",
                *(
                    _cell(runs, (*key, loss), lambda row: row.robust_accuracy, 100)
                    for loss in ("training", "crossentropy")
                ),
                " / ".join(adaptive),
            ]
        )
    lines = [
        f"{recipe.dataset}, {described(reports)}, {seeds} seed(s), "
        f"{len(first.clean)} test images. Accuracy % under attack, of the model "
        f"trained with {names}"
        f"{', mean ± standard deviation over the seeds' * (seeds > 1)}.",
        "",
        f"Without attack: {' / '.join(clean)}.",
        "",
        *markdown_table(columns, rows),
        *_own_objectives(runs),
        *_iterations(recipe.dataset, first.results),
        "",
        _engines(first.results),
        *(f"Skipped: {text}." for text in first.skipped),
    ]
    return "\n".join(lines) + "\n"


def _own_objectives(runs: list[list[RobustnessReport]]) -> list[str]:
    """Returns the lines on attacks that the threat model does not touch."""
    keys = {
        (row.name, row.norm, row.budget, None): None
        for row in runs[0][0].results
        if row.loss is None
    }
    if not keys:
        return []
    rows = [
        [
            key[0],
            key[2].removeprefix("gamma ") or "–",
            _cell(runs, key, lambda row: row.success_rate, 100),
            _cell(runs, key, lambda row: row.mean_l0),
            _cell(runs, key, lambda row: row.mean_l2),
            _cell(runs, key, lambda row: row.median_l2),
        ]
        for key in keys
    ]
    distances = ["pixels changed (l0)", "mean l2", "median l2"]
    return [
        "",
        "Of all examples right before the attack, those that reached the target class, "
        "and what it took them:",
        "",
        *markdown_table(["attack", "gamma", "success %", *distances], rows),
    ]


def _iterations(dataset: str, results: list[AttackResult]) -> list[str]:
    """Returns the lines on JSMA where it takes more iterations than the paper says."""
    gammas = {
        row.settings["gamma"]
        for row in results
        if row.name == "JSMA" and row.settings.get("max_iterations") is None
    }
    if not gammas & ITERATIONS.get(dataset, {}).keys():
        return []
    return [
        "",
        "JSMA: the paper's at most 100 / 200 iterations would be gamma 0.0651 / "
        "0.1302; 0.07 / 0.14, as printed, allow 107 / 215.",
    ]


def _cell(
    runs: list[list[RobustnessReport]],
    key: tuple[str, str | None, str, str | None],
    value: Callable[[AttackResult], float | None],
    scale: float = 1,
) -> str:
    """One figure of the rows of an attack and a loss, model by model."""
    cells = []
    for group in runs:
        found = [
            value(row)
            for report in group
            for row in report.results
            if (row.name, row.norm, row.budget, row.loss) == key
        ]
        values = [scale * figure for figure in found if figure is not None]
        cells.append(mean(values) if values else "–")
    return "–" if set(cells) == {"–"} else " / ".join(cells)


def _engines(results: list[AttackResult]) -> str:
    """Says which library ran which rows."""
    # Engine -> attack -> the losses that it ascended; none of one with its own.
    engines: dict[str, dict[str, dict[str, bool]]] = {}
    for row in results:
        losses = engines.setdefault(row.engine, {}).setdefault(row.name, {})
        if row.loss is not None:
            losses[row.loss] = True
    if len(engines) == 1:
        return f"Engine: {next(iter(engines))}."
    listed = (
        f"{engine} ran "
        + ", ".join(
            f"{name} ({', '.join(losses)})" if losses else name
            for name, losses in attacks.items()
        )
        for engine, attacks in engines.items()
    )
    return "Engines: " + "; ".join(listed) + "."

"""Tables 3 to 6 of the paper: accuracy under the attacks, loss beside loss."""

import dataclasses
import json

import numpy as np

from keras_gce import datasets, files
from keras_gce.checks import check_integer
from keras_gce.recipes.paper_attacks import paper_attacks
from keras_gce.recipes.paper_results import FIGURES, TABLE_LOSSES
from keras_gce.recipes.recipe import recipe_for
from keras_gce.recipes.trainer import run

__all__ = ["length", "mean", "reproduce"]

NAMES = {
    "crossentropy": "cross-entropy",
    "cot": "COT",
    "guided_complement_entropy": "GCE (alpha 1/3)",
}


def reproduce(
    table,
    dataset_name,
    output,
    epochs=None,
    seeds=2,
    examples=1000,
    engine="cleverhans",
    attacks=None,
    model=None,
    dtype_policy=None,
    data_dir=None,
    progress=True,
):
    """Re-runs a table of the paper that has accuracies under attacks.

    Trains a model with each of the table's losses for each seed, and attacks them
    under all three threat models at once; of JSMA and C&W, which know none of them,
    the table also has what their accuracy does not say: how often the target class
    was reached, and at what distortion. Models, finished epochs and batches, and
    reports are kept in `output`; the same call continues there, and tables of the
    same dataset share models in the same folder.

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
        progress: Whether to show progress. Defaults to `True`.

    Returns:
        The table, as Markdown.

    Raises:
        InputError: If an argument is not as described.
    """
    check_integer("seeds", seeds, least=1)
    check_integer("examples", examples, least=1)
    # Refuses before the work.
    paper = paper_attacks(dataset_name, engine=engine, table=table)
    adversarial = table == "table6"
    output = files.output_folder(output)
    dataset = datasets.load(dataset_name, data_dir=data_dir)
    sections, summary = [], {"engine": engine, "runs": []}
    for eps in [attack.eps for attack in paper] if adversarial else [None]:
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
            for loss in TABLE_LOSSES[table]
        ]
        reports = [[] for _ in recipes]
        for seed in range(seeds):
            for recipe, group in zip(recipes, reports, strict=True):
                report = run(
                    recipe,
                    output / f"{recipe.name}-seed{seed}",
                    seed=seed,
                    examples=examples,
                    engine=engine,
                    table=table,
                    attacks=attacks,
                    dataset=dataset,
                    progress=progress,
                )
                group.append(report)
                if progress:
                    print(
                        f"{dataset_name}, {recipe.name}, seed {seed}: clean accuracy "
                        f"{report.clean_accuracy:.2%}",
                        flush=True,
                    )
        sections.append(_section(table, recipes, reports))
        summary["runs"] += [
            {
                "recipe": dataclasses.asdict(recipe),
                "reports": [report.to_dict() for report in group],
            }
            for recipe, group in zip(recipes, reports, strict=True)
        ]
    text = "\n".join(sections)
    files.write_text(output / f"{table}.md", text)
    files.write_text(output / f"{table}.json", json.dumps(summary, indent=2) + "\n")
    return text


def _section(table, recipes, runs):
    """Returns a table beside the paper's figures, for all three threat models."""
    recipe, first = recipes[0], runs[0][0]
    # The paper has no digits; MNIST's figures are the nearest there are.
    on_digits = recipe.dataset == "digits"
    paper = FIGURES[table]["mnist" if on_digits else recipe.dataset]
    names = " / ".join(NAMES[recipe.loss] for recipe in recipes)
    training = ""
    if recipe.eps is not None:
        training = (
            f"PGD adversarial training (eps {recipe.eps:g}, {recipe.steps} steps of "
            f"{recipe.step_size:g}, eps grown over the first {recipe.warmup_epochs:g} "
            "epoch(s)), "
        )
    lines = [
        f"{recipe.dataset}, {recipe.model}, {training}{length(recipe)}, "
        f"{len(runs[0])} seed(s), {len(first.clean)} test images. Accuracy % under "
        f"attack, of the model trained with {names}"
        f"{', mean ± standard deviation over the seeds' * (len(runs[0]) > 1)}.",
        "",
        "Without attack: "
        + " / ".join(mean([100 * r.clean_accuracy for r in group]) for group in runs)
        + ".",
        "",
        "| attack | eps or gamma | paper"
        f"{' (on MNIST)' * on_digits} | through the training loss | "
        "through cross-entropy | adaptive (worst case) |",
        "|---|---|---|---|---|---|",
    ]
    for key in first.worst_over_losses():
        attack, _, budget = key
        figures = paper.get((attack, budget))
        cells = [
            attack,
            budget.removeprefix("gamma ") or "–",
            " / ".join(f"{figure:.2f}" for figure in figures) if figures else "–",
            *(
                _cell(runs, key, loss, "robust_accuracy")
                for loss in ("training", "crossentropy")
            ),
            " / ".join(
                mean([100 * r.worst_over_losses()[key] for r in group])
                for group in runs
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += _own_objectives(runs)
    lines += ["", _engines(first.results)]
    lines += [f"Skipped: {text}." for text in first.skipped]
    return "\n".join(lines) + "\n"


def _own_objectives(runs):
    """Returns the lines on attacks that the threat model does not touch."""
    keys = {
        (row.name, row.norm, row.budget): None
        for row in runs[0][0].results
        if row.loss is None
    }
    if not keys:
        return []
    lines = [
        "",
        "Of all examples right before the attack, those that reached the target class, "
        "and what it took them:",
        "",
        "| attack | gamma | success % | pixels changed (l0) | mean l2 | median l2 |",
        "|---|---|---|---|---|---|",
    ]
    for key in keys:
        figures = [
            _cell(runs, key, None, field, scale)
            for field, scale in (
                ("success_rate", 100),
                ("mean_l0", 1),
                ("mean_l2", 1),
                ("median_l2", 1),
            )
        ]
        cells = [key[0], key[2].removeprefix("gamma ") or "–", *figures]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(runs, key, loss, field, scale=100):
    """One figure of the rows of an attack and a loss, model by model."""
    cells = []
    for group in runs:
        values = [
            getattr(row, field)
            for report in group
            for row in report.results
            if (row.name, row.norm, row.budget, row.loss) == (*key, loss)
        ]
        values = [scale * value for value in values if value is not None]
        cells.append(mean(values) if values else "–")
    return "–" if set(cells) == {"–"} else " / ".join(cells)


def _engines(results):
    """Says which library ran which rows."""
    engines = {}
    for row in results:
        attacks = engines.setdefault(row.engine, {})
        attacks.setdefault(row.name, {})[row.loss] = True
    if len(engines) == 1:
        return f"Engine: {next(iter(engines))}."
    listed = (
        f"{engine} ran "
        + ", ".join(
            name if None in losses else f"{name} ({', '.join(losses)})"
            for name, losses in attacks.items()
        )
        for engine, attacks in engines.items()
    )
    return "Engines: " + "; ".join(listed) + "."


def length(recipe):
    """Says how long a model was trained, and in which precision."""
    policy = f" in {recipe.dtype_policy}" if recipe.dtype_policy else ""
    return f"{recipe.epochs} epochs{policy}"


def mean(values):
    """The mean over the seeds, and the standard deviation where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"

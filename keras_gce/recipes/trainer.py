"""`run`: one recipe from its data to its report."""

import dataclasses

from keras_gce import datasets, evaluation, files, saving
from keras_gce.checks import check_integer, check_seed
from keras_gce.errors import InputError
from keras_gce.recipes.paper_attacks import paper_attacks
from keras_gce.recipes.recipe import claim, steps_per_epoch, train
from keras_gce.seeds import seeded

__all__ = ["run", "trained"]


def run(
    recipe,
    output,
    seed=0,
    examples=1000,
    engine="cleverhans",
    table="table3",
    attacks=None,
    dataset=None,
    data_dir=None,
    progress=True,
):
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
        dataset: The recipe's `Dataset`. Defaults to `None`: loaded by its name.
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
    chosen, part = _chosen(recipe, engine, table, attacks)
    output = files.output_folder(output)
    if dataset is None:
        dataset = datasets.load(recipe.dataset, data_dir=data_dir)
    report = evaluation.evaluate(
        trained(recipe, dataset, seed, output, progress),
        dataset.test.take(min(examples, len(dataset.test))),
        chosen,
        checkpoint=output
        / "-".join([table, engine, str(examples), f"epochs{recipe.epochs}", *part]),
        progress=progress,
    )
    files.write_text(output / f"{table}.json", report.to_json())
    files.write_text(output / f"{table}.md", report.to_markdown())
    return report


def _chosen(recipe, engine, table, names):
    """Returns the attacks of a table to run, and their names if they are not all."""
    attacks = paper_attacks(recipe.dataset, engine=engine, table=table)
    if table == "table6" and recipe.eps is not None:
        same = [attack for attack in attacks if attack.eps == recipe.eps]
        # The paper has no other eps: its attack, at that of the training.
        attacks = same or [dataclasses.replace(attacks[0], eps=recipe.eps)]
    known = list(dict.fromkeys(attack.name.lower() for attack in attacks))
    names = known if names is None else names
    if not names or set(names) - set(known):
        raise InputError(
            f"`attacks` must be among {', '.join(known)}. "
            f"Received: {', '.join(map(str, names)) or 'none'}"
        )
    part = [name for name in known if name in names and set(names) != set(known)]
    return [attack for attack in attacks if attack.name.lower() in names], part


def trained(recipe, dataset, seed, output, progress):
    """Returns the model of a run, trained now or found finished."""
    path = claim(output, recipe, seed) / "model.keras"
    if path.exists():
        with seeded(seed):  # Keras draws initial weights before it loads others.
            model = saving.load_model(path)
        epochs = saving.epochs_of(path)
        if epochs is None:  # Of version 0.1, which counted updates.
            steps = steps_per_epoch(recipe, dataset)
            epochs = int(model.optimizer.iterations) // steps
        if epochs >= recipe.epochs:
            return model
    model = train(recipe, dataset, seed=seed, checkpoint=output, progress=progress)
    saving.save_model(model, path, epochs=recipe.epochs)
    return model

"""`run`: one recipe from its data to its report."""

import dataclasses
import json

from keras_gce import datasets, evaluation, files
from keras_gce.attacks.base import check_integer
from keras_gce.errors import InputError
from keras_gce.recipes.recipe import train

__all__ = ["run"]


def run(
    recipe,
    output,
    seed=0,
    examples=1000,
    engine="cleverhans",
    attacks=None,
    dataset=None,
    data_dir=None,
    progress=True,
):
    """Trains the model of a recipe and attacks it under all three threat models.

    The model, finished batches and the report are kept in `output`; the same call
    continues there.

    Args:
        recipe: A `Recipe`.
        output: Path of the folder for `model.keras`, `report.json`, `report.md`.
        seed: Decides the initial weights, the order and the augmentations, >= 0.
            Defaults to 0.
        examples: Number of test images, >= 1; the first ones, at most all. Defaults
            to 1000.
        engine: `"cleverhans"` or `"keras_gce"`. Defaults to `"cleverhans"`.
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
    check_integer("seed", seed, least=0)
    check_integer("examples", examples, least=1)
    table = evaluation.paper_attacks(recipe.dataset, engine=engine)
    known = list(dict.fromkeys(attack.name.lower() for attack in table))
    attacks = known if attacks is None else attacks
    if not attacks or set(attacks) - set(known):
        raise InputError(
            f"`attacks` must be among {', '.join(known)}. "
            f"Received: {', '.join(map(str, attacks)) or 'none'}"
        )
    chosen = [attack for attack in table if attack.name.lower() in attacks]
    part = [name for name in known if name in attacks and set(attacks) != set(known)]
    output = files.output_folder(output)
    if dataset is None:
        dataset = datasets.load(recipe.dataset, data_dir=data_dir)
    report = evaluation.evaluate(
        _trained(recipe, dataset, seed, output, progress),
        dataset.test.take(min(examples, len(dataset.test))),
        chosen,
        checkpoint=output / "-".join(["attacks", engine, str(examples), *part]),
        progress=progress,
    )
    files.write_text(output / "report.json", report.to_json())
    files.write_text(output / "report.md", report.to_markdown())
    return report


def _trained(recipe, dataset, seed, output, progress):
    """Returns the model of a run, trained now or found finished."""
    path, meta = output / "model.keras", output / "recipe.json"
    settings = {**dataclasses.asdict(recipe), "seed": seed}
    if meta.exists() and json.loads(meta.read_text()) != settings:
        raise InputError(
            "`output` must be a new folder, or one of the same settings. "
            f"Received: {output}, a run of other settings"
        )
    if path.exists():
        return files.load_model(path)
    files.write_text(meta, json.dumps(settings, indent=2) + "\n")
    model = train(recipe, dataset, seed=seed, progress=progress)
    files.save_model(model, path)
    return model

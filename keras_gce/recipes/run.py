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
    attacks = evaluation.paper_attacks(recipe.dataset, engine=engine)
    output = files.output_folder(output)
    if dataset is None:
        dataset = datasets.load(recipe.dataset, data_dir=data_dir)
    report = evaluation.evaluate(
        _trained(recipe, dataset, seed, output, progress),
        dataset.test.take(min(examples, len(dataset.test))),
        attacks,
        checkpoint=output / f"attacks-{engine}-{examples}",
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

"""Does GCE outside help? Adversarial training with both losses, seed by seed."""

import dataclasses
import json
import pathlib
from typing import Any

import keras

from keras_gce import datasets, evaluation, files
from keras_gce.attacks import PGD, Attack, AutoAttack
from keras_gce.checks import check_integer
from keras_gce.errors import InputError, check_installed
from keras_gce.evaluation import RobustnessReport
from keras_gce.files import PathLike
from keras_gce.recipes.given import Source
from keras_gce.recipes.outer_loss_figure import (
    LOSSES,
    MEASURES,
    NAME,
    TRAININGS,
    Run,
    figure,
)
from keras_gce.recipes.recipe import Recipe, recipe_for
from keras_gce.recipes.reproduction import Figure, reproduction_folder
from keras_gce.recipes.runs import chosen_seeds, over_seeds

__all__ = ["reproduce_outer_loss"]

# Dataset -> radius, images in a batch, and the share of the epochs over which the
# radius grows. At these radii the networks keep most and not all of their accuracy.
SETTINGS = {
    "digits": (0.1, 32, 0.1),
    "mnist": (0.15, 32, 0.1),
    "cifar10": (8 / 255, 128, 0.1),
}
# PGD's in training, where the paper's Table 6 has 40 on MNIST.
STEPS = 7
# Of the curve: how often it is measured, and by which attack.
POINTS, CURVE_STEPS = 10, 20
CURVE = "curve.json"


def reproduce_outer_loss(
    dataset_name: str,
    output: PathLike,
    epochs: int | None = None,
    seeds: int = 5,
    examples: int = 500,
    train_images: int | None = None,
    model: str | None = None,
    dtype_policy: str | None = None,
    data_dir: PathLike | None = None,
    progress: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Figure:
    """Asks the paper's question anew: does GCE outside adversarial training help?

    Trains on PGD's images, which ascend cross-entropy, with cross-entropy and with GCE
    (alpha 1/3) as the loss that is descended; and TRADES with both in its natural term.
    The models of a seed differ in nothing else: initial weights, batches and the
    attack's random starts are the same. Each is attacked by PGD of 100 steps (40 on
    CIFAR10), through its own loss, as in the paper's Table 6, and through
    cross-entropy, and by AutoAttack, on the same images. The differences are paired
    seed by seed. The robust accuracy in the course of the training shows whether it
    had converged; nothing is chosen by it. All is kept in `output`; the same call
    continues there.

    Args:
        dataset_name: `"digits"` (eps 0.1), `"mnist"` (0.15) or `"cifar10"` (8/255).
        output: Path of the folder for `outer_loss.png`, `.md` and `.json`, and
            `outer_loss` with the models and reports.
        epochs: Number of epochs. Defaults to `None`: those of `recipe_for`.
        seeds: Number of seeds, >= 1: 0, 1, ...; one alone has no interval. Defaults
            to 5.
        examples: Number of test images, >= 1; the first ones. Defaults to 500.
        train_images: Number of training images, >= 1; the first ones. Defaults to
            `None`: all.
        model: Name of another network. Defaults to `None`: that of `recipe_for`.
        dtype_policy: That of the training, see `recipe_for`. Defaults to `None`.
        data_dir: Folder of the datasets. Defaults to `None`.
        progress: Whether to show progress on stderr. Defaults to `True`.
        seed: The one seed that is run, in place of `seeds`, so that seeds can be spread
            over machines; the call without it, in a folder that they share or that was
            brought together, then finds them done. Defaults to `None`.
        workers: How many runs are made at once, by processes of Ray (extra `ray`), each
            with a device of its own or a share of the cores, where `output` must be
            seen. Defaults to `None`: one after the other, in this process.
        address: The Ray cluster that these are of. Defaults to `None`: this machine.

    Returns:
        A `Figure`; `print` shows its table as Markdown.

    Raises:
        InputError: If an argument is not as described, or matplotlib is missing.
    """
    chosen = chosen_seeds(seeds, seed)
    check_integer("examples", examples, least=1)
    if train_images is not None:
        check_integer("train_images", train_images, least=1)
    if dataset_name not in SETTINGS:
        raise InputError(
            f"`dataset_name` must be one of {', '.join(SETTINGS)}. "
            f"Received: dataset_name={dataset_name!r}"
        )
    check_installed("The figure", "plot", "matplotlib")
    output = reproduction_folder(output, NAME)
    recipes = _recipes(dataset_name, epochs, model, dtype_policy)
    dataset = datasets.load(dataset_name, data_dir=data_dir, validation=0)
    if train_images is not None:
        count = min(train_images, len(dataset.train))
        dataset = dataclasses.replace(dataset, train=dataset.train.take(count))
    test = dataset.test.take(min(examples, len(dataset.test)))

    def callbacks(
        recipe: Recipe, folder: pathlib.Path
    ) -> list[keras.callbacks.Callback]:
        return [_Curve(recipe, folder, test)]

    def measure(
        source: Source, network: keras.Model, folder: pathlib.Path
    ) -> tuple[Run, str]:
        report = _attacked(source, network, folder, test, progress)
        found = _accuracies(report)
        words = ", ".join(f"{MEASURES[k]} {v:.2f}%" for k, v in found.items())
        return Run(accuracies=found, curve=_curve(folder)), words

    runs = over_seeds(
        recipes,
        chosen,
        files.output_folder(output / NAME),
        dataset,
        measure,
        progress=progress,
        workers=workers,
        address=address,
        callbacks=callbacks,
    )
    made = figure(runs, chosen, len(dataset.train), len(test))
    made.write(output)
    return made


def _recipes(
    dataset: str, epochs: int | None, model: str | None, dtype_policy: str | None
) -> list[Recipe]:
    eps, batch_size, warmup = SETTINGS[dataset]
    recipes = [
        recipe_for(
            dataset,
            loss,
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            adversarial=True,
            eps=eps,
            steps=STEPS,
            dtype_policy=dtype_policy,
            objective=objective,
        )
        for objective in TRAININGS
        for loss in LOSSES
    ]
    # At a constant rate neither loss would have converged in so few epochs.
    changes: dict[str, Any] = {"warmup_epochs": warmup * recipes[0].epochs}
    if recipes[0].optimizer == "adam":
        changes["optimizer"] = "adam_cosine"
    return [dataclasses.replace(recipe, **changes) for recipe in recipes]


class _Curve(keras.callbacks.Callback):
    """Measures the model of a run now and then, and keeps that in its folder."""

    def __init__(
        self, recipe: Recipe, folder: pathlib.Path, test: datasets.Split
    ) -> None:
        super().__init__()
        self.recipe, self.folder, self.test = recipe, folder, test
        epochs = recipe.epochs
        self.due = {round(epochs * n / POINTS) for n in range(1, POINTS + 1)}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, where it is due; one that continues may measure an epoch again."""
        if epoch + 1 not in self.due:
            return
        report = evaluation.evaluate(
            self.model,
            self.test,
            PGD(eps=self.recipe.eps or 0.0, steps=CURVE_STEPS),
            threat_model="crossentropy",
            progress=False,
            diagnostics=False,
        )
        point = {
            "epoch": epoch + 1,
            # Of what was left of the epoch, where it was continued.
            "loss": (logs or {})["loss"],
            "clean_accuracy": report.clean_accuracy,
            "robust_accuracy": report.worst_case_accuracy,
        }
        points = [p for p in _curve(self.folder) if p["epoch"] <= epoch] + [point]
        files.write_text(self.folder / CURVE, json.dumps(points, indent=2) + "\n")


def _curve(folder: pathlib.Path) -> list[dict[str, float]]:
    path = folder / CURVE
    return json.loads(path.read_text()) if path.exists() else []


def _attacked(
    source: Source,
    network: keras.Model,
    folder: pathlib.Path,
    test: datasets.Split,
    progress: bool,
) -> RobustnessReport:
    eps = source.eps or 0.0
    steps, size = (40, 2.5 * eps / 40) if source.dataset == "cifar10" else (100, 0.01)
    attacks: list[Attack] = [
        PGD(eps=eps, steps=steps, step_size=size),
        AutoAttack(eps=eps),
    ]
    report = evaluation.evaluate(
        network,
        test,
        attacks,
        checkpoint=folder / f"{NAME}-{len(test)}-{source.version}",
        progress=progress,
        diagnostics=False,  # The table shows rows.
    )
    files.write_text(folder / f"{NAME}.json", report.to_json())
    files.write_text(folder / f"{NAME}.md", report.to_markdown())
    return report


def _accuracies(report: RobustnessReport) -> dict[str, float]:
    """Returns the accuracies of `MEASURES`, in %."""
    left = report.clean.copy()
    found = {"clean": report.clean_accuracy}
    for result, robust in zip(report.results, report.row_robust, strict=True):
        if result.ensemble is not None:
            left &= robust
        elif result.loss in MEASURES:
            found[result.loss] = result.robust_accuracy
    found["autoattack"] = float(left.mean())
    return {key: 100 * found[key] for key in MEASURES}

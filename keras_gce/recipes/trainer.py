"""Trains the model of a recipe, or goes on where a killed training stopped."""

import json
import pathlib
import time
from collections.abc import Sequence

import keras

from keras_gce import files, saving
from keras_gce.checks import check_seed
from keras_gce.datasets import Dataset
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.progress import bar
from keras_gce.recipes.epochs import Epochs
from keras_gce.recipes.networks import compiled, in_float32, network, steps_per_epoch
from keras_gce.recipes.recipe import Recipe
from keras_gce.seeds import seeded
from keras_gce.training.averages import set_averages

__all__ = ["SETTINGS", "claim", "train", "trained"]

# The file that says what a folder's training is.
SETTINGS = "recipe.json"

# Weights are written no more often than so that this share of the time goes there, and
# at least so often that a kill costs this many seconds.
SHARE, LOSS = 0.02, 120.0


def train(
    recipe: Recipe,
    dataset: Dataset,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Trains the model of a recipe.

    Args:
        recipe: A `Recipe`.
        dataset: A `keras_gce.datasets.Dataset`; its test part is not touched.
        seed: Decides the initial weights, the orders, the augmentations and the
            attacks, an integer in [0, 2**31). The caller's random streams are left as
            they are.
        checkpoint: Folder that holds the state of at most two minutes ago; the same
            call continues there after a kill, and ends as one that was never killed.
            Defaults to `None`: nothing is kept.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.
        callbacks: Keras callbacks, asked at the beginning and the end of the training
            and of each epoch, and of its validation: with them the logs have `val_loss`
            and `val_accuracy` of `dataset.validation`, where it has one. One may stop
            the training, and give back other weights. What they remember is not in
            the checkpoint. Defaults to none.

    Returns:
        The trained, compiled `keras.Model`, which returns logits, in float32 whatever
        it was trained in.

    Raises:
        InputError: If `seed` is not as described, `dataset` has no train part, or
            `checkpoint` holds a training of other settings, or doesn't say how many of
            its epochs are finished.
    """
    check_seed(seed)
    if not len(dataset.train):
        raise InputError(
            "`dataset` must have a train part. "
            f"Received: {dataset.name}, the test part alone"
        )
    with seeded(seed):
        model = network(recipe, dataset)
        trainer = compiled(recipe, dataset, model, seed)
    if trainer is not model:
        trainer.look(*dataset.train.take(min(1000, len(dataset.train))).arrays())
    state, done, step = None, 0, 0
    if checkpoint is not None:
        folder = claim(checkpoint, recipe, seed, dataset)
        state = folder / "training.weights.h5"
        done, step = _progress(recipe, dataset, trainer, state)
    if done < recipe.epochs:
        with seeded(seed):  # What is traced may draw.
            at = done, step
            logs = _train(
                *(recipe, dataset, trainer, seed, state, at, progress, callbacks)
            )
        if trainer is not model:
            trainer.warn_at_chance(logs)
    elif recipe.ema is not None:
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    if recipe.dtype_policy is None:
        return model
    with seeded(seed):
        return in_float32(recipe, dataset, model)


def _train(
    recipe: Recipe,
    dataset: Dataset,
    trainer: keras.Model,
    seed: int,
    state: pathlib.Path | None,
    done: tuple[int, int],
    progress: bool,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, float]:
    """Trains to the end, from so many epochs and steps on; the last epoch's metrics."""
    epochs = Epochs(trainer, recipe, dataset, seed)
    (first, step), steps = done, epochs.steps

    def logs() -> dict[str, float]:
        return {k: float(v) for k, v in trainer.get_metrics_result().items()}

    found: dict[str, float] = {}
    listed = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=trainer, epochs=recipe.epochs
    )
    listed.on_train_begin()
    saved, cost = time.monotonic(), 0.0
    total, before = recipe.epochs * steps, first * steps + step
    with bar(f"training {recipe.name}", total, progress, before) as advance:
        for epoch in range(first, recipe.epochs):
            listed.on_epoch_begin(epoch)
            for now in epochs.stretches(epoch, step):
                if progress:
                    counted = f"epoch {epoch + 1}/{recipe.epochs}"
                    counted += f", accuracy {logs()['accuracy']:.4f}"
                    counted += _validated(trainer.history)
                    advance(now - step, f"training {recipe.name}", counted)
                step = now
                last = (epoch + 1, now) == (recipe.epochs, steps)
                since = time.monotonic() - saved
                if state is not None and (last or since >= min(cost / SHARE, LOSS)):
                    start = time.monotonic()
                    at = (epoch + 1, 0) if now == steps else (epoch, now)
                    saving.save_weights(trainer, state, *at)
                    saved = time.monotonic()
                    cost = saved - start
            step, found = 0, logs()
            if callbacks:
                listed.on_epoch_end(epoch, found | _validate(trainer, dataset, listed))
            if trainer.stop_training:
                break
    if recipe.ema is not None:
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    listed.on_train_end(found)
    if callbacks:  # One of them may have given other weights back.
        set_averages(trainer.optimizer)
    return found


def _validate(
    trainer: keras.Model, dataset: Dataset, callbacks: keras.callbacks.CallbackList
) -> dict[str, float]:
    """Evaluates on the validation part as `fit` does, and returns what logs get."""
    if not len(dataset.validation):
        return {}
    found = trainer.evaluate(
        dataset.validation.batches(500), callbacks=callbacks, return_dict=True
    )
    return {f"val_{name}": value for name, value in found.items()}


def _validated(history: keras.callbacks.History) -> str:
    """Says the accuracies of the last validation, if any."""
    return "".join(
        f", {name} {values[-1]:.4f}"
        for name, values in history.history.items()
        if name.startswith("val_") and name.endswith("accuracy")
    )


def trained(
    recipe: Recipe,
    dataset: Dataset,
    seed: int,
    output: PathLike,
    progress: bool,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Returns the model of a recipe, found finished in a folder or trained there."""
    path = claim(output, recipe, seed, dataset) / "model.keras"
    if path.exists():
        with seeded(seed):  # Keras draws initial weights before it loads others.
            model = saving.load_model(path)
        epochs = saving.epochs_of(path)
        if epochs is None:
            epochs = _epochs_of_updates(recipe, dataset, model)
        if epochs >= recipe.epochs:
            return model
    model = train(
        recipe,
        dataset,
        seed=seed,
        checkpoint=output,
        progress=progress,
        callbacks=callbacks,
    )
    saving.save_model(model, path, epochs=recipe.epochs)
    return model


def claim(
    folder: PathLike, recipe: Recipe, seed: int, dataset: Dataset
) -> pathlib.Path:
    """Returns the folder, as that of one training from now on.

    With Adam, whose rate does not depend on the number of epochs, it may become one
    of more epochs, which continues.

    Raises:
        InputError: If it is that of another one.
    """
    images = len(dataset.train)
    settings = {**recipe.settings, "seed": seed, "train_images": images}
    meta = files.work_folder(folder, SETTINGS, "checkpoint") / SETTINGS
    if meta.exists() and recipe.optimizer == "adam":
        found = json.loads(meta.read_text())
        if found["epochs"] < recipe.epochs and found == {
            **settings,
            "epochs": found["epochs"],
        }:
            files.write_text(meta, json.dumps(settings, indent=2) + "\n")
    return files.claim(folder, meta.name, settings)


def _progress(
    recipe: Recipe, dataset: Dataset, trainer: keras.Model, state: pathlib.Path
) -> tuple[int, int]:
    """Loads the state of a training, and returns the epochs and steps behind it."""
    if not state.exists():
        return 0, 0
    epochs, step = saving.load_weights(trainer, state)
    if epochs is not None:
        return epochs, step
    if recipe.dtype_policy == "mixed_float16":
        raise InputError(
            "`checkpoint` must say how many epochs are finished: in mixed_float16 "
            "updates may have been skipped, and don't tell it. "
            f"Received: {state}, without that number, of keras_gce 0.1"
        )
    return _epochs_of_updates(recipe, dataset, trainer), 0


def _epochs_of_updates(recipe: Recipe, dataset: Dataset, model: keras.Model) -> int:
    """Returns the epochs behind a file of version 0.1, which counted updates alone."""
    return int(model.optimizer.iterations) // steps_per_epoch(recipe, dataset)

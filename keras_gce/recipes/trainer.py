"""Trains the model of a recipe, or goes on where a killed training stopped."""

import dataclasses
import json
import pathlib
import warnings
from typing import Any

import keras
import numpy as np

from keras_gce import files, saving
from keras_gce.checks import check_seed
from keras_gce.datasets import Dataset
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.progress import bar
from keras_gce.recipes.networks import compiled, in_float32, network, steps_per_epoch
from keras_gce.recipes.recipe import Recipe
from keras_gce.seeds import seeded

__all__ = ["claim", "train", "trained"]


def train(
    recipe: Recipe,
    dataset: Dataset,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    progress: bool = True,
) -> keras.Model:
    """Trains the model of a recipe.

    Args:
        recipe: A `Recipe`.
        dataset: A `keras_gce.datasets.Dataset`; its test part is not touched.
        seed: Decides the initial weights, the orders, the augmentations and the
            attacks, an integer in [0, 2**31). The caller's random streams are left as
            they are.
        checkpoint: Folder that holds the state after the last finished epoch; the
            same call continues there after a kill, and ends as one that was never
            killed. Defaults to `None`: nothing is kept.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.

    Returns:
        The trained, compiled `keras.Model`, which returns logits, in float32 whatever
        it was trained in.

    Raises:
        InputError: If `seed` is not as described, or `checkpoint` holds a training of
            other settings, or doesn't say how many of its epochs are finished.
    """
    check_seed(seed)
    with seeded(seed):
        model = network(recipe, dataset)
        trainer = compiled(recipe, dataset, model, seed)
    if trainer is not model:
        # Here, or `fit` would begin a shuffled pipeline once more, which then goes on
        # with another order; and so in a training that resumes.
        trainer.look(*dataset.train.take(min(1000, len(dataset.train))).arrays())
        trainer.looks = False
    steps = steps_per_epoch(recipe, dataset)
    done, state = 0, None
    if checkpoint is not None:
        state = claim(checkpoint, recipe, seed) / "training.weights.h5"
        done = _finished_epochs(recipe, dataset, trainer, state)

    def text(epoch: int, accuracy: str = "") -> str:
        return f"training, {recipe.name}: epoch {epoch + 1}/{recipe.epochs}{accuracy}"

    with bar(text(done), recipe.epochs * steps, progress, done * steps) as advance:
        for epoch in range(done, recipe.epochs):

            def count(batch: int, logs: dict[str, Any], epoch: int = epoch) -> None:
                advance(1, text(epoch, f", accuracy {logs['accuracy']:.4f}"))

            counter = keras.callbacks.LambdaCallback(on_train_batch_end=count)
            # Keras then calls it from a thread of its own, and the device needn't wait.
            counter.async_safe = True
            # Anew for each epoch: the order depends on the epoch's number, not on
            # how many ran before it in this process.
            order = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
            # In tf.data the global seed has its say too, and PyTorch's loader draws.
            with seeded(seed), warnings.catch_warnings():
                batches = dataset.train.batches(
                    recipe.batch_size,
                    shuffle=True,
                    augment=recipe.augment,
                    seed=int(order) >> 1,
                )
                if epoch + 1 < recipe.epochs:  # It may leave chance yet.
                    warnings.filterwarnings("ignore", "Training has stayed at chance")
                trainer.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    shuffle=False,
                    verbose=0,
                    callbacks=[counter] if progress else None,
                )
            if state is not None:
                saving.save_weights(trainer, state, epochs=epoch + 1)
    if recipe.dtype_policy is None:
        return model
    with seeded(seed):
        return in_float32(recipe, dataset, model)


def trained(
    recipe: Recipe, dataset: Dataset, seed: int, output: PathLike, progress: bool
) -> keras.Model:
    """Returns the model of a recipe, found finished in a folder or trained there."""
    path = claim(output, recipe, seed) / "model.keras"
    if path.exists():
        with seeded(seed):  # Keras draws initial weights before it loads others.
            model = saving.load_model(path)
        epochs = saving.epochs_of(path)
        if epochs is None:
            epochs = _epochs_of_updates(recipe, dataset, model)
        if epochs >= recipe.epochs:
            return model
    model = train(recipe, dataset, seed=seed, checkpoint=output, progress=progress)
    saving.save_model(model, path, epochs=recipe.epochs)
    return model


def claim(folder: PathLike, recipe: Recipe, seed: int) -> pathlib.Path:
    """Returns the folder, as that of one training from now on.

    With Adam, whose rate does not depend on the number of epochs, it may become one
    of more epochs, which continues.

    Raises:
        InputError: If it is that of another one.
    """
    settings = {**dataclasses.asdict(recipe), "seed": seed}
    meta = files.output_folder(folder) / "recipe.json"
    if meta.exists() and recipe.optimizer == "adam":
        found = json.loads(meta.read_text())
        if found["epochs"] < recipe.epochs and found == {
            **settings,
            "epochs": found["epochs"],
        }:
            files.write_text(meta, json.dumps(settings, indent=2) + "\n")
    return files.claim(folder, meta.name, settings)


def _finished_epochs(
    recipe: Recipe, dataset: Dataset, trainer: keras.Model, state: pathlib.Path
) -> int:
    """Loads the state of a training, and returns how many epochs it has behind it."""
    if not state.exists():
        return 0
    epochs = saving.load_weights(trainer, state)
    if epochs is not None:
        return epochs
    if recipe.dtype_policy == "mixed_float16":
        raise InputError(
            "`checkpoint` must say how many epochs are finished: in mixed_float16 "
            "updates may have been skipped, and don't tell it. "
            f"Received: {state}, without that number, of keras_gce 0.1"
        )
    return _epochs_of_updates(recipe, dataset, trainer)


def _epochs_of_updates(recipe: Recipe, dataset: Dataset, model: keras.Model) -> int:
    """Returns the epochs behind a file of version 0.1, which counted updates alone."""
    return int(model.optimizer.iterations) // steps_per_epoch(recipe, dataset)

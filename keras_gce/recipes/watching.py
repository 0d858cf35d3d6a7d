"""What watches the training of a recipe: the callbacks for a held-out part."""

import math

import keras

from keras_gce.attacks import PGD
from keras_gce.callbacks import CatastrophicOverfitting, RobustAccuracy
from keras_gce.datasets import Dataset
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.recipes.recipe import Recipe

__all__ = ["watchers"]

# Held-out images that are attacked after each epoch, at most.
IMAGES = 1000


def watchers(
    recipe: Recipe,
    dataset: Dataset,
    patience: int | None = None,
    tensorboard: PathLike | None = None,
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that watch the training of a recipe, for `train`.

    `val_robust_accuracy` in the logs is that under PGD (10 steps of eps / 4) at the
    recipe's eps, of at most 1,000 images. Averages of weights, where the recipe has
    them, are what is validated, attacked and kept. Training with one step is watched by
    `CatastrophicOverfitting`.

    Args:
        recipe: A `Recipe`.
        dataset: A `Dataset` with a validation part.
        patience: Epochs without a better `val_robust_accuracy` (of natural training
            `val_accuracy`) after which training stops, >= 1; the best epoch's weights
            are kept, also where it doesn't stop. Epochs in which eps still grows
            don't count. Defaults to `None`: no stop.
        tensorboard: Folder for TensorBoard's curves, which needs TensorFlow. Defaults
            to `None`.

    Returns:
        List of Keras callbacks, in their order.

    Raises:
        InputError: If `dataset` has no validation part.
    """
    if not len(dataset.validation):
        raise InputError(
            "`dataset` must have a validation part to watch a training. "
            f"Received: {dataset.name}, without one"
        )
    found: list[keras.callbacks.Callback] = []
    if recipe.ema is not None:
        found.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    monitored = "val_accuracy"
    if recipe.eps is not None:
        held_out = dataset.validation.take(min(IMAGES, len(dataset.validation)))
        if recipe.one_step:
            found.append(CatastrophicOverfitting(held_out, recipe.eps))
        attack = PGD(eps=recipe.eps, steps=10, seed=0)
        found.append(RobustAccuracy(held_out, attack))
        monitored = "val_robust_accuracy"
    if patience is not None:
        found.append(
            keras.callbacks.EarlyStopping(
                monitored,
                mode="max",
                patience=patience,
                restore_best_weights=True,
                # While eps grows nothing holds at its full size.
                start_from_epoch=math.ceil(recipe.warmup_epochs),
            )
        )
    if tensorboard is not None:
        found.append(keras.callbacks.TensorBoard(tensorboard, write_graph=False))
    return found

"""The epochs of a training, on images that lie on the device."""

import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.checks import State
from keras_gce.datasets import Dataset
from keras_gce.datasets.augmentation import draws, gathered
from keras_gce.recipes.networks import steps_per_epoch
from keras_gce.recipes.recipe import Recipe

__all__ = ["Epochs", "build"]

# Seconds that a stretch of steps should take: few enough for a bar that moves and for
# Ctrl-C, enough for what the host does between two of them not to be seen.
STRETCH = 1.0


class Epochs:
    """Trains epoch by epoch, a stretch of steps at a time.

    A stretch is one program on the device: the gathering of each batch, its
    augmentation and Keras's own train step. Order and augmentations are decided by the
    seed and the number of the epoch, not by what ran before in this process, and are
    the same under all backends.

    Args:
        trainer: The compiled `keras.Model` that trains; its state is built here.
        recipe: The `Recipe`, whose batch size and augmentation are taken.
        dataset: The `Dataset`, whose train part is trained on.
        seed: An integer >= 0.

    Attributes:
        steps: The number of updates in an epoch.
    """

    def __init__(
        self, trainer: keras.Model, recipe: Recipe, dataset: Dataset, seed: int
    ) -> None:
        self._trainer, self._recipe, self._seed = trainer, recipe, seed
        split = dataset.train
        self._count, self.steps = len(split), steps_per_epoch(recipe, dataset)
        build(trainer, *split.take(1).arrays())
        data = (split.images, split.labels)
        self._train = backend.training_loop(trainer, _batch, data)
        self._length = 1

    def stretches(self, epoch: int, step: int = 0) -> Iterator[int]:
        """Trains through an epoch, and yields after each stretch.

        Args:
            epoch: Its number, from 0 on.
            step: How many steps of it are done. Defaults to 0.

        Yields:
            How many are done now.
        """
        full = self._count // self._recipe.batch_size
        whole, rest = self._columns(epoch, full)
        self._trainer.reset_metrics()
        while step < self.steps:
            start = time.perf_counter()
            if step < full:
                stop = min(step + self._length, full)
                self._train(whole, step, stop)
            else:  # The last batch, a smaller one.
                stop = step + 1
                self._train(rest, 0, 1)
            seconds = time.perf_counter() - start
            if seconds < STRETCH / 2 and stop - step == self._length:
                self._length *= 2
            elif seconds > 2 * STRETCH:
                self._length = max(1, self._length // 2)
            step = stop
            yield step

    def _columns(self, epoch: int, full: int) -> tuple[State, State]:
        """Returns indices and augmentations: of all whole batches, and of the rest."""
        generator = np.random.default_rng((self._seed, epoch))
        columns = [generator.permutation(self._count).astype(np.int32)]
        if self._recipe.augment:
            columns += draws(generator, self._count)
        size = self._recipe.batch_size
        whole = tuple(c[: full * size].reshape(full, size) for c in columns)
        return whole, tuple(column[None, full * size :] for column in columns)


def _batch(data: Any, rows: State) -> State:
    """Returns the images and labels of a step, in compiled code."""
    (images, labels), (index, *augmentation) = data, rows
    return gathered(images, index, *augmentation), ops.take(labels, index, axis=0)


def build(trainer: keras.Model, images: Any, labels: Any) -> None:
    """Makes the variables of optimizer and metrics, which a loop can't make."""
    if not trainer.optimizer.built:  # Or one that scales the loss begins anew.
        trainer.optimizer.build(trainer.trainable_variables)
    images, labels = ops.convert_to_tensor(images), ops.convert_to_tensor(labels)
    trainer.compute_metrics(images, labels, trainer(images, training=False), None)
    trainer.reset_metrics()

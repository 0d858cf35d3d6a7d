"""`Split.batches` as a `keras.utils.PyDataset`, for backends without `tf.data`."""

import math
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce.checks import Tensor
from keras_gce.datasets.augmentation import draws, gathered

__all__ = ["PyBatches", "batches"]

# The images of each split as a tensor: on the device once, for all epochs.
_IMAGES: weakref.WeakKeyDictionary[Any, Tensor] = weakref.WeakKeyDictionary()


class PyBatches(keras.utils.PyDataset):
    """The batches of a split; the arguments are those of `Split.batches`.

    The images lie on the device, whole and as uint8, and are gathered and augmented
    there: a GPU waits for the indices of a batch, not for its images.

    Example:

    >>> from keras_gce.datasets import Split
    >>> split = Split(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5))
    >>> [labels.tolist() for _, labels in PyBatches(split, 2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        split: Any,
        batch_size: int,
        shuffle: bool = False,
        augment: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if split not in _IMAGES:
            _IMAGES[split] = ops.convert_to_tensor(split.images)
        self._images = _IMAGES[split]
        self._labels = split.labels
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._augment = augment
        # NumPy's global generator, which `keras.utils.set_random_seed` seeds.
        self._seed = np.random.randint(2**31) if seed is None else seed
        self._epoch = 0
        self._order = self._new_order()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Tensor, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} of {len(self)}")
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        drawn: tuple[np.ndarray, ...] = ()
        if self._augment:
            drawn = draws(self._generator(index + 1), len(chosen))
        images = gathered(self._images, chosen, *map(ops.convert_to_tensor, drawn))
        return images, self._labels[chosen]

    def __iter__(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draws a new order."""
        self._epoch += 1
        self._order = self._new_order()

    def _new_order(self) -> np.ndarray:
        count = len(self._labels)
        return (
            self._generator(0).permutation(count) if self._shuffle else np.arange(count)
        )

    def _generator(self, stream: int) -> np.random.Generator:
        # A stream for the order and one for each batch: workers may ask for the
        # batches in any order.
        return np.random.default_rng((self._seed, self._epoch, stream))


batches = PyBatches

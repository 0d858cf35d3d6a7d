"""`Split.batches` as a `keras.utils.PyDataset`, for backends without `tf.data`."""

import math

import keras
import numpy as np

from keras_gce.datasets.split import PADDING, Split

__all__ = ["PyBatches", "batches"]


class PyBatches(keras.utils.PyDataset):
    """The batches of a split; the arguments are those of `Split.batches`.

    Example:

    >>> split = Split(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5))
    >>> [labels.tolist() for _, labels in PyBatches(split, 2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, split, batch_size, shuffle=False, augment=False, seed=None):
        super().__init__()
        self._split = split
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._augment = augment
        # NumPy's global generator, which `keras.utils.set_random_seed` seeds.
        self._seed = np.random.randint(2**31) if seed is None else seed
        self._epoch = 0
        self._order = self._new_order()

    def __len__(self):
        return math.ceil(len(self._split) / self._batch_size)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} of {len(self)}")
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        images = self._split.images[chosen]
        if self._augment:
            images = _augmented(images, self._generator(index + 1))
        return Split(images, self._split.labels[chosen]).arrays()

    def __iter__(self):
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def on_epoch_end(self):
        self._epoch += 1
        self._order = self._new_order()

    def _new_order(self):
        count = len(self._split)
        return (
            self._generator(0).permutation(count) if self._shuffle else np.arange(count)
        )

    def _generator(self, stream):
        # A stream for the order and one for each batch: workers may ask for the
        # batches in any order.
        return np.random.default_rng((self._seed, self._epoch, stream))


batches = PyBatches


def _augmented(images, generator):
    size, height, width = images.shape[:3]
    top, left = generator.integers(2 * PADDING + 1, size=(2, size, 1))
    flip = generator.random((size, 1)) < 0.5
    rows = top + np.arange(height)
    columns = left + np.where(flip, np.arange(width)[::-1], np.arange(width))
    border = (PADDING, PADDING)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)))
    example = np.arange(size)[:, None, None]
    return padded[example, rows[:, :, None], columns[:, None, :]]

"""`Split`: images and labels in memory."""

import dataclasses
import numbers
from typing import Any

import keras
import numpy as np

from keras_gce.checks import check_integer
from keras_gce.errors import InputError

__all__ = ["Split", "check_seed"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a dataset: images and their labels, in memory.

    Example:

    >>> images = np.full((5, 8, 8, 1), 51, dtype="uint8")
    >>> split = Split(images, np.arange(5))
    >>> split
    Split(images=uint8 (5, 8, 8, 1), labels=int32 (5,))
    >>> x, y = split.take(2).arrays()
    >>> x.shape, str(x.dtype), round(float(x.max()), 4), y.tolist()
    ((2, 8, 8, 1), 'float32', 0.2, [0, 1])
    >>> [len(labels) for _, labels in split.batches(2)]
    [2, 2, 1]

    Args:
        images: Array of shape `(N, H, W, C)`: uint8, or floats in [0, 1]. Not to be
            changed once there were `batches` of them, which share one copy.
        labels: Integers of shape `(N,)`; kept as int32.

    Raises:
        InputError: If the shapes or dtypes are not as described.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.ndim != 4 or not (images.dtype == np.uint8 or _is_float(images)):
            raise InputError(
                "`images` must be uint8 or floats of shape (N, H, W, C). "
                f"Received: images={_described(images)}"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise InputError(
                f"`labels` must be integers of shape ({len(images)},), one for each "
                f"image. Received: labels={_described(labels)}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"Split(images={_described(self.images)}, labels={_described(self.labels)})"
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all images and labels as arrays.

        Returns:
            Images, float32 in [0, 1], and labels, int32.
        """
        images = self.images.astype(np.float32)
        if self.images.dtype == np.uint8:
            images /= 255
        return images, self.labels

    def take(self, n: int, seed: int | None = None) -> "Split":
        """Returns the split of `n` of the examples.

        Args:
            n: Number of examples, an integer in [0, len(split)].
            seed: An integer >= 0 takes a random choice that it decides; with the same
                seed a larger `n` holds the smaller one's. Defaults to `None`: the
                first `n`.

        Returns:
            A `Split`.

        Raises:
            InputError: If an argument is not as described.
        """
        whole = isinstance(n, numbers.Integral) and not isinstance(n, bool)
        if not whole or not 0 <= n <= len(self):
            raise InputError(
                f"`n` must be an integer in [0, {len(self)}], the length of the split. "
                f"Received: n={n!r}"
            )
        if seed is None:
            return Split(self.images[:n], self.labels[:n])
        check_seed(seed)
        chosen = np.random.default_rng(seed).permutation(len(self))[:n]
        return Split(self.images[chosen], self.labels[chosen])

    def batches(
        self,
        batch_size: int,
        shuffle: bool = False,
        augment: bool = False,
        seed: int | None = None,
    ) -> Any:
        """Returns the examples in batches, for `fit`, `evaluate` or a loop.

        A `tf.data.Dataset` where TensorFlow is the Keras backend, a
        `keras.utils.PyDataset` elsewhere. Each batch is a pair of images, float32 in
        [0, 1], and labels, int32; a smaller last batch is kept.

        Give `fit` `shuffle=False` with them: the order is decided here. Keras's own
        default warns for a `tf.data.Dataset`, and shuffles a `PyDataset`'s batches
        once more, by no seed of ours.

        Args:
            batch_size: Examples in a batch, an integer >= 1.
            shuffle: Whether to shuffle anew in every epoch. Defaults to `False`.
            augment: Whether to augment as the paper does on the CIFARs: zeros on 4
                pixels all around, a random crop of the image's size, a random
                horizontal flip; anew for every example and epoch. Defaults to `False`.
            seed: Decides the orders and the augmentations, an integer >= 0. (Under
                TensorFlow a global seed, `keras.utils.set_random_seed`, has its say
                in them too, as in all of tf.data.) Defaults to `None`: not
                reproducible, unless there is a global seed.

        Returns:
            A `tf.data.Dataset` or a `keras.utils.PyDataset`.

        Raises:
            InputError: If an argument is not as described.
        """
        check_integer("batch_size", batch_size, least=1)
        if seed is not None:
            check_seed(seed)
        # Imported late: TensorFlow is not to be loaded for the arrays alone, nor
        # under another backend.
        if keras.backend.backend() == "tensorflow":
            from keras_gce.datasets.tf_batches import batches
        else:
            from keras_gce.datasets.py_batches import batches
        return batches(self, int(batch_size), shuffle, augment, seed)


def check_seed(seed: Any) -> None:
    """Refuses what is no seed here: NumPy's and tf.data's may be large ones."""
    check_integer("seed", seed, least=0, most=2**63 - 1)


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"

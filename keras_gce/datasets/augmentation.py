"""Batches from indices, augmented: of all pipelines, and of training on a device."""

import keras
import numpy as np
from keras import ops

from keras_gce.checks import Tensor

__all__ = ["PADDING", "draws", "gathered"]

PADDING = 4  # pixels on each side, for the random crops of `augment`


def draws(generator: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    """Draws what happens to each image: rows and columns to skip, and mirrored or not.

    Args:
        generator: NumPy's.
        count: Number of images.

    Returns:
        Tuple of three int32 arrays of shape `(count,)`, what `gathered` takes.
    """
    top, left = generator.integers(2 * PADDING + 1, size=(2, count), dtype=np.int32)
    return top, left, generator.integers(2, size=count, dtype=np.int32)


def gathered(images: Tensor, index: Tensor, *augmentation: Tensor) -> Tensor:
    """Returns some of the images as float32 in [0, 1], also in compiled code.

    Args:
        images: Tensor of all images, of shape `(N, H, W, C)`: uint8, or floats.
        index: Integers of shape `(n,)`.
        *augmentation: What `draws` returns, or nothing.
    """
    chosen = ops.take(images, index, axis=0)
    if augmentation:
        chosen = _cropped(chosen, *augmentation)
    values = ops.cast(chosen, "float32")
    if keras.backend.standardize_dtype(images.dtype) == "uint8":
        values = values / 255.0
    return values


def _cropped(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Returns a crop of each image, of its size, after zeros were put all around it.

    Args:
        images: Tensor of shape `(N, H, W, C)`.
        top: Integers in [0, 2 * PADDING] of shape `(N,)`: the first row of the crop.
        left: Its first column.
        mirrored: Whether it is flipped, left for right: 1 or 0.
    """
    count, (height, width, channels) = ops.shape(images)[0], images.shape[1:]
    across = ops.arange(width, dtype="int32")[None]
    across = ops.where(mirrored[:, None] > 0, width - 1 - across, across)
    rows = top[:, None] + ops.arange(height, dtype="int32")[None]
    columns = left[:, None] + across
    border = (PADDING, PADDING)
    padded = ops.pad(images, ((0, 0), border, border, (0, 0)))
    # One gather of pixels: by both axes, ten times as quick as one axis at a time.
    rows += ops.arange(count, dtype="int32")[:, None] * (height + 2 * PADDING)
    pixels = rows[:, :, None] * (width + 2 * PADDING) + columns[:, None, :]
    return ops.take(ops.reshape(padded, (-1, channels)), pixels, axis=0)

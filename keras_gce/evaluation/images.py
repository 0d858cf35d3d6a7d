"""The images of an evaluation, and which of them outlive an attack."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.checks import as_array
from keras_gce.classifier import Classifier, batches
from keras_gce.errors import InputError
from keras_gce.per_feature import Bounds

__all__ = ["data_arrays", "survivors"]


def data_arrays(
    data: Any, bounds: Bounds | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of data in any form that `fit` takes, as arrays.

    Args:
        data: A pair of arrays, a `Split`, a `tf.data.Dataset`, a `PyDataset`, a torch
            `DataLoader`, or an iterable of batches (or of examples) that ends.
        bounds: The least and the greatest value of a pixel, to which a `Split`'s images
            are brought. Defaults to `None`: [0, 1].
    """
    # A `Split`, of which only this is known here: evaluation knows no datasets.
    if hasattr(data, "arrays"):
        return _in_bounds(data, bounds)
    if isinstance(data, (tuple, list)) and len(data) == 2 and not _is_batch(data[0]):
        return as_array(data[0]), as_array(data[1])
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise InputError("`data` must be finite. Received: an endless PyDataset")
        data = map(data.__getitem__, range(len(data)))
    # A `tf.data.Dataset`, without TensorFlow, which may not be installed.
    elif hasattr(data, "cardinality") and int(data.cardinality()) == -1:
        raise InputError("`data` must be finite. Received: an infinite Dataset")
    if isinstance(data, (dict, str, bytes)) or not isinstance(data, Iterable):
        raise InputError(
            "`data` must be images and labels: a pair of arrays, a Split, a "
            "tf.data.Dataset, a PyDataset, a DataLoader or an iterable of batches. "
            f"Received: {type(data).__name__}"
        )
    pairs = [_pair(item) for item in data]
    if not pairs:
        raise InputError("`data` must hold at least one image. Received: none")
    # Batches, or, where a label is a number, examples.
    join = np.concatenate if np.ndim(pairs[0][1]) else np.stack
    try:
        x, y = (join(part) for part in zip(*pairs, strict=True))
        return x, y
    except ValueError as error:
        raise InputError(
            f"`data` must have batches of one shape of images and labels. "
            f"Received: {error}"
        ) from error


def _is_batch(value: Any) -> bool:
    """Whether something is a batch of images and labels, rather than images."""
    # Arrays and tensors of any library have a shape; rows of numbers have none.
    return isinstance(value, (tuple, list)) and all(
        hasattr(part, "shape") for part in value
    )


def _pair(item: Any) -> list[np.ndarray]:
    """Returns the images and labels of a batch, without its sample weights."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(
            "`data` must have batches of images and labels. "
            f"Received: a batch that is a {type(item).__name__}"
        )
    pair = [keras.tree.flatten(part) for part in item[:2]]
    if [len(part) for part in pair] != [1, 1]:
        raise InputError(
            "`data` must have one tensor of images and one of labels in a batch. "
            f"Received: {len(pair[0])} and {len(pair[1])}"
        )
    return [as_array(part[0]) for part in pair]


def _in_bounds(split: Any, bounds: Bounds | None) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None or tuple(bounds) == (0, 1):
        return split.arrays()
    low, high = (np.asarray(bound, "float64") for bound in bounds)
    images = split.images.astype("float32")
    # In one step, so that whole numbers stay whole where the range is 255.
    scale = (high - low) / (255 if split.images.dtype == np.uint8 else 1)
    low, high, scale = (one.astype("float32") for one in (low, high, scale))
    return np.clip(images * scale + low, low, high), split.labels


def survivors(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    attack: Attack,
    batch_size: int = 500,
) -> np.ndarray:
    """Returns a boolean array: which of images that are right stay so."""
    right = np.zeros(len(x), bool)
    for index in batches(np.arange(len(x)), batch_size):
        x_adv = attack.run(classifier, x[index], y[index], stop_early=True)
        right[index] = classifier.right(np.asarray(x_adv), y[index])
    return right

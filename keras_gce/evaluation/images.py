"""The images of an evaluation, and which of them outlive an attack."""

import keras
import numpy as np

from keras_gce.attacks.logits import batches, predict_logits
from keras_gce.errors import InputError

__all__ = ["data_arrays", "survivors"]


def data_arrays(data):
    """Returns images and labels of a Split, a tf.data.Dataset or a pair of arrays."""
    if hasattr(data, "arrays"):
        return data.arrays()
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return np.asarray(data[0]), np.asarray(data[1])
    if isinstance(data, keras.utils.PyDataset):
        to_numpy = keras.ops.convert_to_numpy
        pairs = [map(to_numpy, data[i][:2]) for i in range(len(data))]
        return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
    if hasattr(data, "as_numpy_iterator"):
        if int(data.cardinality()) == -1:
            raise InputError("`data` must be finite. Received: an infinite Dataset")
        pairs = [pair[:2] for pair in data.as_numpy_iterator()]
        if not pairs:
            raise InputError("`data` must hold at least one image. Received: none")
        join = np.concatenate if np.ndim(pairs[0][1]) else np.stack
        return tuple(join(part) for part in zip(*pairs, strict=True))
    raise InputError(
        "`data` must be a pair of arrays (images, labels), a Split, a "
        f"tf.data.Dataset or a PyDataset. Received: {type(data).__name__}"
    )


def survivors(model, x, y, attack, batch_size=500):
    """Returns a boolean array: which of images that are right stay so."""
    right = np.zeros(len(x), bool)
    for index in batches(np.arange(len(x)), batch_size):
        x_adv = np.asarray(attack.run(model, x[index], y[index], stop_early=True))
        right[index] = predict_logits(model, x_adv).argmax(-1) == y[index]
    return right

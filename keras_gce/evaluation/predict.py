"""The images of an evaluation, and what a model says of them."""

import numpy as np

from keras_gce import backend
from keras_gce.attacks.logits import logits_of
from keras_gce.errors import InputError

__all__ = ["batches", "data_arrays", "predict_logits", "survivors"]


def data_arrays(data):
    """Returns images and labels of a Split, a tf.data.Dataset or a pair of arrays."""
    if hasattr(data, "arrays"):
        return data.arrays()
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return np.asarray(data[0]), np.asarray(data[1])
    if hasattr(data, "as_numpy_iterator"):
        if int(data.cardinality()) == -1:
            raise InputError("`data` must be finite. Received: an infinite Dataset")
        pairs = [pair[:2] for pair in data.as_numpy_iterator()]
        if not pairs:
            raise InputError("`data` must hold at least one image. Received: none")
        join = np.concatenate if np.ndim(pairs[0][1]) else np.stack
        return tuple(join(part) for part in zip(*pairs, strict=True))
    raise InputError(
        "`data` must be a pair of arrays (images, labels), a Split or a "
        f"tf.data.Dataset. Received: {type(data).__name__}"
    )


def batches(index, batch_size):
    """Returns an array in parts of at most `batch_size`."""
    return [index[i : i + batch_size] for i in range(0, len(index), batch_size)]


def predict_logits(model, x, batch_size=500):
    """Returns the logits of images as an array of shape `(N, K)`."""

    def run(model, x):
        return logits_of(model)(x)

    parts = [
        np.asarray(backend.run_compiled(model, "logits", run, (part,), {}))
        for part in batches(x, batch_size)
    ]
    return np.concatenate(parts or [np.zeros((0, model.output_shape[-1]), "float32")])


def survivors(model, x, y, attack, batch_size=500):
    """Returns a boolean array: which of images that are right stay so."""
    right = np.zeros(len(x), bool)
    for index in batches(np.arange(len(x)), batch_size):
        x_adv = np.asarray(attack.run(model, x[index], y[index], stop_early=True))
        right[index] = predict_logits(model, x_adv).argmax(-1) == y[index]
    return right

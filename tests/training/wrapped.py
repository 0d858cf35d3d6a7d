"""Small models to wrap and train, for the tests of this folder."""

import keras
import numpy as np

from keras_gce import losses
from keras_gce.attacks import BIM

XE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
GCE = losses.GuidedComplementEntropy(from_logits=True)
WEAK = BIM(eps=0.1, steps=2)


def flat(units=10, activation=None, dtype=None, inside=(), name=None, key=None):
    """A linear model of 28 x 28 images, with layers before its end.

    With a name its output stands in a dict, with a key its input.
    """
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1), dtype=dtype, name=key)
    z = image
    for layer in (*inside, keras.layers.Flatten()):
        z = layer(z)
    z = keras.layers.Dense(units, activation=activation, name=name)(z)
    inputs = image if key is None else {key: image}
    return keras.Model(inputs, z if name is None else {name: z})


def small(activation=None):
    """A convolution and a batch normalisation before the linear end."""
    keras.utils.set_random_seed(1)  # A layer draws its seed where it is made.
    inside = [
        keras.layers.Conv2D(4, 5, strides=4, activation="relu"),
        keras.layers.BatchNormalization(),
    ]
    return flat(activation=activation, inside=inside)


def fitted(wrap, images, epochs=2, compile=None, build=flat, **fit):
    """Wraps, compiles and fits a model; returns it and its history."""
    model = wrap(build())
    settings = {"optimizer": keras.optimizers.SGD(0.05), "loss": XE}
    model.compile(**{**settings, **(compile or {})})
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    history = model.fit(*images, epochs=epochs, **{**options, **fit})
    return model, history.history


def assert_same_weights(a, b, atol=1e-6):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)

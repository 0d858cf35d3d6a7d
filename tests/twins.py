"""Models of many forms that compute one thing, for several test files."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as to_numpy

from keras_gce.attacks import BIM
from keras_gce.evaluation import evaluate

N, SHAPE, HIDDEN = 60, (8, 8, 1), 12


def library_softmax():
    """The softmax of the library under Keras, which knows nothing of Keras."""
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow

        return tensorflow.nn.softmax
    if name == "jax":
        import jax

        return jax.nn.softmax
    import torch

    return functools.partial(torch.softmax, dim=-1)


def weights(classes, seed=0):
    """Weights of a network whose classes are balanced on images around grey."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (64, HIDDEN)).astype("float32")
    last = rng.normal(0, 1, (HIDDEN, classes)).astype("float32")
    return [
        kernel,
        -kernel.sum(0) / 2,
        last,
        rng.normal(0, 0.1, classes).astype("float32"),
    ]


FOUR = weights(4)

ONE = weights(1, seed=1)

ONE[3] = -np.float32(0.4) * np.ones(1, "float32")

# The two-class twin of one output z has the logits [0, z].
TWO = [*ONE[:2], *(np.concatenate([0 * w, w], axis=-1) for w in ONE[2:])]


def hidden(policy=None):
    return [layers.Flatten(), layers.Dense(HIDDEN, "relu", dtype=policy)]


def functional(*end, given=FOUR, first=(), policy=None, dtype="float32"):
    """A functional model of layers and operations, with the given weights."""
    inputs = keras.Input(SHAPE, dtype=dtype)
    value = inputs
    for layer in (*first, *hidden(policy), *end):
        value = layer(value)
    model = keras.Model(inputs, value)
    model.set_weights(given)
    return model


def plain(given):
    return functional(layers.Dense(given[3].size), given=given)


def dense(activation):
    return layers.Dense(4, activation=activation)


class Subclassed(keras.Model):
    """Its end can't be seen."""

    def __init__(self, *end, given=FOUR):
        super().__init__()
        self.all = [*hidden(), *end]
        self(np.zeros((1, *SHAPE), "float32"))
        self.set_weights(given)

    def call(self, x):
        for layer in self.all:
            x = layer(x)
        return x


class OwnCall(keras.Model):
    """A functional model whose `call` its graph does not say."""

    def call(self, x):
        return super().call(x) * 2.0


def own_call():
    model = plain(FOUR)
    model = OwnCall(model.inputs, model.outputs)
    model.set_weights([*FOUR[:2], FOUR[2] / 2, FOUR[3] / 2])
    return model


def sequential(*end, given=FOUR):
    model = keras.Sequential([keras.Input(SHAPE), *hidden(), *end])
    model.set_weights(given)
    return model


def nested(kind):
    part = [keras.Input((HIDDEN,)), layers.Dense(4, "softmax")]
    if kind == "functional":
        inner = keras.Model(part[0], part[1](part[0]))
    else:
        inner = keras.Sequential(part)
    if kind == "identity":
        return functional(inner, layers.Identity())
    return sequential(inner)


def in_structure(kind, softmax=False):
    inputs = keras.Input(SHAPE, name="image")
    first, second = hidden()
    z = layers.Dense(4, "softmax" if softmax else None, name="z")(second(first(inputs)))
    if kind == "input":
        model = keras.Model({"image": inputs}, z)
    else:
        model = keras.Model(inputs, {"dict": {"z": z}, "list": [z]}[kind])
    model.set_weights(FOUR)
    return model


def rescaled(activation=None, **options):
    return functional(
        layers.Dense(4, activation), first=[layers.Rescaling(1 / 255)], **options
    )


def data_of(model, seed=0):
    """Images, and the classes that a twin gives them, six of them wrong."""
    x = np.random.default_rng(seed).random((N, *SHAPE), "float32")
    z = to_numpy(model(x))
    y = z.argmax(-1).astype("int32")
    y[:6] = (y[:6] + 1) % z.shape[-1]
    return x, y


def report_of(model, data, eps=0.03, **options):
    attack = BIM(eps=eps, steps=4)
    return evaluate(
        model,
        data,
        attack,
        "crossentropy",
        progress=False,
        **options,
        diagnostics=False,
    )


def under_each(kinds, *some):
    """Parameters, of which some are run under each backend."""
    return [
        pytest.param(kind, marks=pytest.mark.seam if kind in some else ())
        for kind in kinds
    ]


def pairs_under_each(first, second):
    """All pairs of two lists; under each backend as many as have every value once."""
    count = max(len(first), len(second))
    chosen = {(first[i % len(first)], second[i % len(second)]) for i in range(count)}
    return [
        pytest.param(a, b, marks=[pytest.mark.seam] if (a, b) in chosen else [])
        for a in first
        for b in second
    ]

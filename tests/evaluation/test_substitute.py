"""A network that learns a model's answers, attacked in its place."""

import random

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import balanced, labelled

from keras_gce.attacks import PGD
from keras_gce.classifier import Classifier
from keras_gce.evaluation import substitute
from keras_gce.evaluation.substitute import broken_by_substitute


class Stopped(layers.Layer):
    def call(self, x):
        return ops.stop_gradient(x)


def broken(model, x, y, eps=0.2, **ball):
    attack = PGD(eps=eps, steps=10, step_size=eps / 4, loss="margin", **ball)
    return broken_by_substitute(Classifier(model), x, y, x, attack)


@pytest.mark.integration
@pytest.mark.parametrize("norm,eps", [("linf", 0.2), ("l2", 1.5)])
def test_it_needs_no_gradient_of_the_model(norm, eps):
    model = balanced(first=[Stopped()])
    x, y = labelled(model, 60)
    found = broken(model, x, y, eps, norm=norm)
    # Its random start breaks a few.
    left = PGD(eps=eps, norm=norm, seed=0)(model, x, y)
    assert found.mean() > 0.1 + (~Classifier(model).right(np.asarray(left), y)).mean()
    # Each call asks, trains and attacks the same.
    np.testing.assert_array_equal(found, broken(model, x, y, eps, norm=norm))


@pytest.mark.integration
@pytest.mark.parametrize("shape", [(30,), (3, 16, 16), (12, 12, 3), (5, 6, 4)])
def test_inputs_of_any_shape_and_unit(shape):
    model = balanced(shape, first=[layers.Rescaling(1 / 255)])
    x, y = labelled(model, 20, shape)
    x = np.float32(255) * x
    y = keras.ops.convert_to_numpy(model(x)).argmax(-1).astype("int32")
    assert broken(model, x, y, 120.0, bounds=(0, 255)).shape == (20,)


def test_logits_that_are_no_numbers_are_broken():
    model = balanced()
    x, y = labelled(model, 10)
    model.set_weights([np.nan * w for w in model.get_weights()])
    assert broken(model, x, y).all()


@pytest.mark.integration
def test_nothing_outside_is_touched():
    model = balanced()
    x, y = labelled(model, 10)
    weights = [np.array(w) for w in model.get_weights()]
    random.seed(7), np.random.seed(7)
    expected = random.random(), np.random.random()
    number = int(layers.Dense(1).name.split("_")[-1])
    random.seed(7), np.random.seed(7)
    broken(model, x, y)
    assert (random.random(), np.random.random()) == expected
    assert layers.Dense(1).name == f"dense_{number + 1}"
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("shape", [(30,), (3, 16, 16), (8, 8, 1)])
def test_it_is_of_float32_whatever_the_global_policy(shape):
    data_format = "channels_first" if shape[0] == 3 else "channels_last"
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = substitute._network(shape, data_format, 4, (0.0, 1.0))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.dtype_policy.name for layer in network.layers[1:]} == {"float32"}

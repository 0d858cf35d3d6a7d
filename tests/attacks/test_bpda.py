"""Steps without a gradient, through which that of what follows passes."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import FGSM, PGD, straight_through
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

pytestmark = pytest.mark.seam


def few_levels(x):
    return ops.round(x * 4) / 4


def few_levels_in_numpy(x):
    assert type(x) is np.ndarray
    return np.round(x * np.float32(4)) / 4


@keras.saving.register_keras_serializable(package="tests")
def registered(x):
    return ops.floor(x * 3) / 3


def made(kind):
    if kind == "layer":
        # Its own gradient is twice that of the identity.
        return straight_through(keras.layers.Rescaling(2.0)), lambda x: 2 * x
    if kind == "numpy":
        layer = straight_through(few_levels_in_numpy, in_numpy=True)
    else:
        layer = straight_through(few_levels)
    return layer, few_levels_in_numpy


@pytest.mark.parametrize("kind", ["callable", "layer", "numpy"])
def test_the_value_is_that_of_forward_and_the_gradient_what_comes_back(kind):
    layer, forward = made(kind)
    rng = np.random.default_rng(0)
    x = rng.random((5, 8, 8, 1), "float32")
    weight = rng.normal(size=x.shape).astype("float32")
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Flatten()])

    def run(classifier, x, weight):
        def values(v):
            y = model(v)
            each = ops.reshape(weight, (-1, 64)) * ops.square(y)
            return ops.sum(each, axis=-1), y

        gradient, _, y = backend.gradient_of(values, x)
        return gradient, y

    found = backend.run_compiled(Classifier(model), kind, run, (x, weight), {})
    gradient, y = (to_numpy(value) for value in found)
    np.testing.assert_array_equal(y, forward(x).reshape(5, 64))
    # That of sum(weight * y^2) at y, and not a bit less.
    np.testing.assert_array_equal(gradient, 2 * y.reshape(x.shape) * weight)


def test_a_defence_falls_that_had_no_gradient():
    x, y = labelled(balanced(first=[keras.layers.Lambda(few_levels)]))
    attack = PGD(eps=0.2, steps=10, seed=0, random_start=False)

    def left(first):
        model = balanced(first=[first])
        x_adv = to_numpy(attack(model, x, y))
        return float(Classifier(model).right(x_adv, y).mean())

    assert left(keras.layers.Lambda(few_levels)) == 1
    assert left(straight_through(few_levels)) < 0.2


def test_arrays_go_without_xla_where_it_was_asked_for(tf):
    model = balanced(first=[straight_through(few_levels_in_numpy, in_numpy=True)])
    x, y = labelled(model)
    found = [FGSM(eps=0.1, jit_compile=jit)(model, x, y) for jit in (True, False)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("in_numpy", [False, True])
def test_another_shape_is_refused(in_numpy):
    layer = straight_through(lambda x: x[:, 1:], in_numpy=in_numpy)
    with pytest.raises(Exception, match=r"`forward` must return images of the shape"):
        to_numpy(layer(np.zeros((2, 8, 8, 1), "float32")))


def test_what_is_no_function_is_refused():
    for forward, in_numpy in ((3, False), (keras.layers.ReLU(), True)):
        with pytest.raises(InputError, match="`forward` must be .* Received"):
            straight_through(forward, in_numpy=in_numpy)


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    x = np.random.default_rng(0).random((3, 8, 8, 1), "float32")
    for forward in (registered, keras.layers.Rescaling(0.5)):
        model = balanced(first=[straight_through(forward)])
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))
    model = balanced(first=[straight_through(few_levels)])
    with pytest.raises(InputError, match="registered with"):
        model.save(tmp_path / "other.keras")


def test_fingerprints_tell_functions_apart():
    layers = [few_levels, registered, keras.layers.ReLU(), keras.layers.Dropout(0.5)]
    models = [balanced(first=[straight_through(f)]) for f in (*layers, few_levels)]
    *different, again = (Classifier(model).fingerprint() for model in models)
    assert len(set(different)) == 4 and again == different[0]

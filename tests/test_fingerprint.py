"""What tells two things apart."""

import functools
import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers, ops
from twins import under_each

from keras_gce import losses
from keras_gce.classifier import Classifier
from keras_gce.fingerprint import describe, fingerprint

GCE = losses.GuidedComplementEntropy
SCALE = 2.0
TABLE = [1.0, 2.0]


def linear(seed=0, loss=None):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    kernel = np.random.default_rng(seed).normal(0, 1, (6, 3)).astype("float32")
    model.set_weights([kernel, -kernel.sum(0) / 2])
    if loss is not None:
        model.compile(loss=loss)
    return model


def digest(loss=None, seed=0):
    return Classifier(linear(seed, loss)).fingerprint()


def test_equal_weights_and_losses_are_equal():
    assert digest() == digest()
    # Keras numbers the names of losses and models.
    assert digest(GCE(alpha=0.5)) == digest(GCE(alpha=0.5))
    assert digest("sparse_categorical_crossentropy") == digest(
        "sparse_categorical_crossentropy"
    )


SMOOTH = keras.losses.CategoricalCrossentropy


@pytest.mark.parametrize(
    "a,b",
    [
        (None, GCE()),
        (GCE(alpha=0.5), GCE(alpha=0.25)),
        (GCE(), GCE(from_logits=True)),
        (GCE(normalize=False), GCE()),
        (SMOOTH(label_smoothing=0.1), SMOOTH()),
        ("mse", "mae"),
        (["mse"], ["mae"]),
        ({"z": GCE(alpha=0.5)}, {"z": GCE(alpha=0.25)}),
    ],
)
def test_other_losses_are_others(a, b):
    assert digest(a) != digest(b)


def test_other_weights_are_others():
    assert digest(seed=0) != digest(seed=1)
    a, b = linear(), linear()
    kernel, bias = a.get_weights()
    kernel[5, 2] = np.nextafter(kernel[5, 2], np.float32(9))
    b.set_weights([kernel, bias])
    assert Classifier(a).fingerprint() != Classifier(b).fingerprint()


def scaled(by):
    return lambda y, z: by * ops.sum(z, axis=-1)


def with_default(by):
    def loss(y, z, by=by):
        return by * z

    return loss


def with_keyword(by):
    def loss(y, z, *, by=by):
        return by * z

    return loss


def of_global(scale):
    # As a module of the user's would define it.
    code = f"SCALE = {scale}\ndef loss(y, z):\n    return SCALE * z\n"
    return _defined(code)


def of_helper(scale):
    code = f"""
    def helper(z):
        return {scale} * z

    def loss(y, z):
        return helper(z)
    """
    return _defined(code)


def of_table(scale):
    return _defined(f"TABLE = [{scale}, 2]\ndef loss(y, z):\n    return TABLE[0] * z")


def of_inner(scale):
    code = f"""
    SCALE = {scale}
    def loss(y, z):
        return (lambda v: SCALE * v)(z)
    """
    return _defined(code)


def _defined(code):
    names = {"__name__": "users"}
    exec(textwrap.dedent(code), names)
    return names["loss"]


class Callable:
    def __init__(self, by):
        self.by = by

    def __call__(self, y, z):
        return self.by * z


class Own(keras.losses.Loss):
    """A loss that says nothing of its settings."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def call(self, y, z):
        return self.by * ops.sum(z, axis=-1)


class Wrapping(keras.losses.Loss):
    def __init__(self, alpha):
        super().__init__()
        self.inner = GCE(alpha=alpha)

    def call(self, y, z):
        return self.inner.call(y, z)


def weighted(by):
    # Class weights, as users hold them.
    return Own(ops.convert_to_tensor([by, 1.0, 1.0]))


def method(by):
    return Callable(by).__call__


def partial(by):
    return functools.partial(with_default(1), by=by)


def in_partial(by):
    return Own(functools.partial(scaled(1.0), by))


SETTINGS = [
    scaled,
    with_default,
    with_keyword,
    of_global,
    of_helper,
    of_table,
    of_inner,
    Callable,
    Own,
    Wrapping,
    weighted,
    method,
    partial,
    in_partial,
]


@pytest.mark.parametrize(
    "make", under_each(SETTINGS, weighted), ids=lambda make: make.__name__
)
def test_a_setting_that_a_function_has_around_it(make):
    assert fingerprint(make(2.0)) == fingerprint(make(2.0))
    assert fingerprint(make(2.0)) != fingerprint(make(3.0))


def test_lambdas_of_one_name_are_told_apart():
    a, b = (lambda y, z: z + 1.0), (lambda y, z: z + 2.0)
    c, d = (lambda y, z: ops.exp(z)), (lambda y, z: ops.log(z))
    prints = [fingerprint(one) for one in (a, b, c, d)]
    assert len(set(prints)) == 4
    assert fingerprint(lambda y, z: z + 1.0) == prints[0]
    assert len({digest(one) for one in (a, b)}) == 2


def test_arrays_are_told_apart_by_shape_and_dtype():
    x = np.arange(6, dtype="float32")
    others = [x.reshape(2, 3), x.astype("float64"), x + 1, x[::-1]]
    prints = [fingerprint(one) for one in (x, *others)]
    assert len(set(prints)) == 5
    assert fingerprint(x[::2]) == fingerprint(np.array([0, 2, 4], "float32"))


def test_what_holds_itself_ends():
    one = Callable(1.0)
    one.itself = [one]
    around = []
    around.append(around)
    assert json.dumps(describe(one)) and json.dumps(describe(around))


def test_a_description_is_of_json():
    for value in (GCE(), scaled(2.0), np.float32(1), {1: {2}}, linear(), None, np.sum):
        json.dumps(describe(value))


PROGRAM = """
import numpy as np
from keras_gce.fingerprint import fingerprint
from keras_gce.losses import GuidedComplementEntropy as GCE
def scaled(by):
    return lambda y, z, mode="a": by * z if mode in {"a", "b", "c", "d", "e"} else z
names = {"linf", "l2", "l1", "own"}
print(fingerprint(np.arange(4.0), GCE(alpha=0.5), names), fingerprint(scaled(2.0)))
"""


@pytest.mark.integration
def test_another_process_says_the_same():
    # Where Python orders the members of a set otherwise, and Keras runs on NumPy, with
    # which it starts soonest.
    here = {"__name__": "__main__"}
    exec(PROGRAM.replace("\nprint(", "\nfound = ("), here)
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"KERAS_BACKEND": "numpy"},
    )
    assert there.stdout.split() == list(here["found"])

"""What tells two things apart, and what that keeps from being mixed up."""

import functools
import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_gce import losses, models
from keras_gce.attacks import FGSM, PGD, Transfer
from keras_gce.classifier import Classifier
from keras_gce.classifier_structure import structure_of
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.record import settings_of
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


@pytest.mark.parametrize("make", SETTINGS, ids=lambda make: make.__name__)
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


def test_another_process_says_the_same():
    # Where Python orders the members of a set otherwise.
    here = {"__name__": "__main__"}
    exec(PROGRAM.replace("\nprint(", "\nfound = ("), here)
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == list(here["found"])


# In reports


def test_the_settings_in_a_report_tell_lambdas_apart():
    a, b = (FGSM(eps=0.1, loss=lambda y, z, k=k: k * z) for k in (1, 2))
    assert settings_of(a)["loss"] != settings_of(b)["loss"]
    assert settings_of(a) == settings_of(FGSM(eps=0.1, loss=a.loss))
    assert json.loads(json.dumps(settings_of(a))) == settings_of(a)
    c, d = (Transfer(source=linear(seed), attack=a) for seed in (0, 1))
    assert settings_of(c)["source"] != settings_of(d)["source"]


# In a checkpoint


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(1).random((30, 6), "float32")
    y = np.argmax(linear().predict(x, verbose=0), -1)
    return x, y


def run(model, data, folder, attack=None):
    return evaluate(
        model,
        data,
        attack or PGD(eps=0.05, steps=2, seed=0),
        "adaptive",
        batch_size=10,
        checkpoint=folder,
        progress=False,
    )


def refused(received, *args):
    with pytest.raises(InputError, match=received) as error:
        run(*args)
    assert "\n" not in str(error.value)


def test_a_checkpoint_is_of_one_training_loss(data, tmp_path):
    model = linear(loss=GCE(alpha=0.5, from_logits=True))
    first = run(model, data, tmp_path)
    model.compile(loss=GCE(alpha=0.5, from_logits=True))
    again = run(model, data, tmp_path)
    # Read from the folder, to the second.
    assert [r.seconds for r in again.results] == [r.seconds for r in first.results]
    model.compile(loss=GCE(alpha=0.25, from_logits=True))
    refused(f"checkpoint={tmp_path}, of another evaluation", model, data, tmp_path)
    refused("another evaluation", linear(1), data, tmp_path)


def test_a_checkpoint_is_of_one_lambda(data, tmp_path):
    def attack(by):
        return FGSM(eps=0.05, loss=lambda y, z: by * z[:, 0])

    def evaluated(by):
        return evaluate(
            linear(), data, attack(by), None, checkpoint=tmp_path, progress=False
        )

    assert evaluated(1.0).results == evaluated(1.0).results
    with pytest.raises(InputError, match="another evaluation"):
        evaluated(-1.0)


@pytest.mark.parametrize(
    "meta,received",
    [
        ({"fingerprint": "0" * 64}, "of another version"),
        ({"format": 99, "fingerprint": "0" * 64}, "format 99"),
        ("no JSON {", "of another version"),
        ("[1, 2]", "of another version"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused(data, tmp_path, meta, received):
    text = meta if isinstance(meta, str) else json.dumps(meta)
    (tmp_path / "evaluation.json").write_text(text)
    refused(received, linear(), data, tmp_path)


def test_a_finished_batch_of_other_examples_is_done_again(data, tmp_path):
    model, attack = linear(), PGD(eps=0.05, steps=2, seed=0)
    whole = run(model, data, tmp_path, attack)
    path = tmp_path / "row000_batch00001.npz"
    with np.load(path) as arrays:
        part = dict(arrays)
    # As on a machine where one more example is right before: all move by one.
    part["index"] = part["index"] - 1
    part["right"] = ~part["right"]
    np.savez(path, **part)
    again = run(model, data, tmp_path, attack)
    np.testing.assert_array_equal(again.row_robust, whole.row_robust)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["index"], part["index"] + 1)


def test_a_torn_batch_is_done_again(data, tmp_path):
    model = linear()
    whole = run(model, data, tmp_path)
    path = tmp_path / "row000_batch00000.npz"
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(
        run(model, data, tmp_path).row_robust, whole.row_robust
    )


def test_models_of_the_same_weights_are_told_apart():
    def network(activation, *first):
        layers = [*first, keras.layers.Flatten(), keras.layers.Dense(4, activation)]
        model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
        model.set_weights([np.eye(16, 4), np.zeros(4)])
        return model

    networks = [
        network("relu"),
        network("tanh"),
        network("relu", keras.layers.Rescaling(0.5)),
        network("relu", keras.layers.Rescaling(0.25)),
        network("relu", keras.layers.Lambda(lambda v: ops.round(4 * v) / 4)),
        network("relu", keras.layers.Lambda(lambda v: ops.round(2 * v) / 2)),
    ]
    found = [fingerprint(structure_of(model)) for model in networks]
    assert len(set(found)) == len(found)
    # Names, which Keras numbers, tell nothing.
    assert fingerprint(structure_of(network("relu"))) == found[0]


def test_a_loaded_model_is_the_saved_one(tmp_path):
    model = models.SmallCNN()
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert structure_of(loaded) == structure_of(model)
    assert Classifier(loaded).fingerprint() == Classifier(model).fingerprint()

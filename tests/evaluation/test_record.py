"""The settings of attacks, as a report has them."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import balanced, labelled

from keras_gce.attacks import FGSM, PGD, Transfer
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.record import loss_label, settings_of


@pytest.fixture(scope="module")
def model():
    return balanced(classes=5)


@pytest.fixture(scope="module")
def data(model):
    return labelled(model)


def linear(seed=0, loss=None):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    kernel = np.random.default_rng(seed).normal(0, 1, (6, 3)).astype("float32")
    model.set_weights([kernel, -kernel.sum(0) / 2])
    if loss is not None:
        model.compile(loss=loss)
    return model


def test_the_settings_in_a_report_tell_lambdas_apart():
    a, b = (FGSM(eps=0.1, loss=lambda y, z, k=k: k * z) for k in (1, 2))
    assert settings_of(a)["loss"] != settings_of(b)["loss"]
    assert settings_of(a) == settings_of(FGSM(eps=0.1, loss=a.loss))
    assert json.loads(json.dumps(settings_of(a))) == settings_of(a)
    c, d = (Transfer(source=linear(seed), attack=a) for seed in (0, 1))
    assert settings_of(c)["source"] != settings_of(d)["source"]


@dataclasses.dataclass
class Scaled:
    """A loss of the user's own that Python can't hash."""

    by: float = 1.0

    def __call__(self, y, z):
        return self.by * ops.sparse_categorical_crossentropy(y, z, from_logits=True)


def test_a_loss_has_its_name_or_that_of_its_class():
    def worst(y, z):
        return -z[:, 0]

    assert loss_label(worst) == "worst"
    assert loss_label("margin") == "margin" and loss_label(None) is None
    one, other = (loss_label(Scaled(by)) for by in (1.0, 2.0))
    assert one.startswith("Scaled (") and one != other


def test_a_loss_that_has_no_hash(model, data):
    plain = evaluate(
        model, data, FGSM(eps=0.02), None, progress=False, diagnostics=False
    )
    report = evaluate(
        model,
        data,
        FGSM(eps=0.02, loss=Scaled()),
        None,
        progress=False,
        diagnostics=False,
    )
    np.testing.assert_array_equal(report.row_robust, plain.row_robust)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": np.int32(5)},
        {"seed": np.int64(5)},
        {"seed": np.uint8(200)},
        {"eps": np.float32(0.1)},
        {"steps": np.int64(2)},
        {"step_size": np.float32(0.1)},
    ],
    ids=str,
)
def test_settings_that_are_numbers_of_numpy(model, data, settings):
    attack = PGD(**{"eps": 0.1, "steps": 2, "seed": 5, **settings})
    report = evaluate(model, data, attack, None, progress=False, diagnostics=False)
    (name,) = settings
    assert f'"{name}": {settings[name]}' in report.to_json()

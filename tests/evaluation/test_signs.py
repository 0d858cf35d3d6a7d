"""The figures of `diagnose` that take attacks."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import balanced, labelled

from keras_gce import names
from keras_gce.attacks import PGD
from keras_gce.classifier import Classifier
from keras_gce.evaluation.own_attack import own_attack
from keras_gce.evaluation.signs import astray, black_box_gain, end_of


class Decoy(layers.Layer):
    """Logits without their gradient, and a small linear term that has one."""

    def call(self, pair):
        x, z = pair
        kernel = np.random.default_rng(5).normal(size=(64, 4)).astype("float32")
        return ops.stop_gradient(z) + 1e-3 * ops.matmul(
            ops.reshape(x, (-1, 64)), kernel
        )


@pytest.fixture(scope="module")
def honest():
    return balanced()


@pytest.fixture(scope="module")
def decoy(honest):
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, Decoy()([inputs, honest(inputs)]))


def own(norm):
    eps = {"linf": 0.03, "l2": 0.15, "l1": 1.0}[norm]
    return own_attack(eps, norm, (0.0, 1.0), loss="margin")


@pytest.mark.parametrize("norm", names.NORMS)
def test_a_gradient_that_leads_astray(honest, decoy, norm):
    x, y = labelled(honest, 60)
    assert astray(Classifier(honest), x, y, own(norm)) == 0
    assert astray(Classifier(decoy), x, y, own(norm)) > 0.25


@pytest.mark.integration
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_black_box_gains_where_the_gradient_is_masked(honest, decoy, norm):
    x, y = labelled(honest, 60)
    for model, gains in ((honest, False), (decoy, True)):
        classifier = Classifier(model)
        left = end_of(classifier, x, y, own(norm)).right
        gain = black_box_gain(classifier, x, y, [own(norm)], left)
        assert (gain > 0.05) == gains, gain


def test_an_eps_of_0_shows_nothing(decoy):
    x, y = labelled(decoy, 10)
    classifier, attack = Classifier(decoy), PGD(eps=0.0)
    left = np.ones(10, bool)
    assert astray(classifier, x, y, attack) == 0
    assert black_box_gain(classifier, x, y, [attack], left) == 0

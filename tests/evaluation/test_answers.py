"""Signs of masked gradients that a model's answers show."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from networks import balanced, labelled

from keras_gce.classifier import Classifier
from keras_gce.evaluation.answers import answer_checks, margins


class Plateau(layers.Layer):
    """Logits of one height, which the greatest two decide."""

    def call(self, z):
        return 5 * ops.tanh(100 * (z - ops.mean(ops.top_k(z, 2)[0], -1, keepdims=True)))


class Heights(layers.Layer):
    """Logits on a plateau whose height is another on each image."""

    def call(self, pair):
        x, z = pair
        return z * (1.5 + ops.sin(6 * x[:, 0, 0, 0]))[:, None]


def checks(model, count=40):
    x, y = labelled(model, count)
    classifier = Classifier(model)
    return {c.name: c for c in answer_checks(classifier, x, y, classifier.predict(x))}


def test_margins_by_hand():
    z = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 2.0]], "float32")
    np.testing.assert_array_equal(margins(z, np.array([1, 1])), [-1.0, 4.0])


def test_an_honest_network_raises_none():
    assert [c.name for c in checks(balanced()).values() if c.raised] == []


def test_a_plateau_stands_still_and_jumps():
    found = checks(keras.Sequential([balanced(), Plateau()]))
    assert found["logits_stand_still"].raised and found["logits_jump"].value > 0.9


def test_a_plateau_of_many_heights_jumps_all_the_same():
    inputs = keras.Input((8, 8, 1))
    z = Plateau()(balanced()(inputs))
    found = checks(keras.Model(inputs, Heights()([inputs, z])))
    assert not found["logits_stand_still"].raised and found["logits_jump"].raised


def test_images_of_one_class_have_no_way_to_another():
    model = balanced()
    x, y = labelled(model)
    same = y == y[0]
    classifier = Classifier(model)
    found = answer_checks(classifier, x[same], y[same], classifier.predict(x[same]))
    assert "logits_jump" not in [check.name for check in found]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_cannot_be_computed_is_raised(bad):
    class Lost(layers.Layer):
        """Two classes, bright and dark; in the middle no number."""

        def call(self, x):
            z = (
                10
                * (ops.mean(x, (1, 2, 3))[:, None] - 0.5)
                * np.array([1, -1], "float32")
            )
            return ops.where(ops.abs(z) < 1, bad, z)

    model = keras.Sequential([keras.Input((8, 8, 1)), Lost()])
    x = 0.2 * np.random.default_rng(0).random((40, 8, 8, 1), "float32")
    x[20:] += 0.8
    y = np.repeat([1, 0], 20)
    classifier = Classifier(model)
    found = answer_checks(classifier, x, y, classifier.predict(x))
    jump = next(check for check in found if check.name == "logits_jump")
    assert jump.raised and jump.value is None and "computed" in jump.message

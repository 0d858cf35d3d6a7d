"""What attacks ascend, by hand, and where there is no gradient of it."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import losses
from keras_gce.attacks import APGD, APGDT, FAB, FGSM, FMN, PGD, Square
from keras_gce.attacks.objectives import (
    dlr,
    likeliest_wrong,
    objective,
    targeted_dlr,
    targeted_margin,
)
from keras_gce.classifier import Classifier


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def test_margin_and_dlr_by_hand():
    # z = (1, 3, 0, 2), y = 0: margin 3 - 1; DLR 2 / (3 - 1), the third largest being 1.
    z, y = ops.convert_to_tensor([[1.0, 3.0, 0.0, 2.0]]), ops.convert_to_tensor([0])
    assert float(objective("margin", None)(y, z)[0]) == 2.0
    assert float(objective("dlr", None)(y, z)[0]) == pytest.approx(1.0)


def test_targeted_dlr_is_equation_7():
    # By hand: (3 - 5) / (5 - (2 + 1) / 2); y leads, the target is second.
    z = ops.convert_to_tensor([[5.0, 3.0, 2.0, 1.0]])
    y, target = np.array([0], "int32"), np.array([1], "int32")
    assert float(targeted_dlr(y, target, z)[0]) == pytest.approx(-2 / 3.5)
    # Free of shift and scale.
    assert float(targeted_dlr(y, target, 10 * z - 4)[0]) == pytest.approx(-2 / 3.5)
    # Eq. 6: (3 - 5) / (5 - 2).
    assert float(dlr(y, z)[0]) == pytest.approx(-2 / 3)
    # Above the line alone.
    assert float(targeted_margin(y, target, z)[0]) == -2.0


@pytest.mark.parametrize("classes", [2, 3, 9, 10, 11, 1000])
def test_the_targets_are_the_authors(classes):
    # autopgd_base.py: `output.sort(dim=1)[1][:, -target_class]` for target_class from 2
    # to n_target_classes + 1, which is 10, of an image that is right.
    z = np.random.default_rng(classes).normal(size=(5, classes)).astype("float32")
    y = z.argmax(-1).astype("int32")
    count = min(APGDT(eps=0.1).num_targets, classes - 1)
    ours = to_numpy(likeliest_wrong(y, ops.convert_to_tensor(z), count))
    assert ours.shape == (5, min(9, classes - 1))
    np.testing.assert_array_equal(ours, z.argsort(-1)[:, ::-1][:, 1:10])


def test_training_loss_of_a_softmax_model_is_taken_from_its_logits(images):
    x, y = images
    inputs = keras.Input((28, 28, 1))
    z = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    logits, softmax = keras.Model(inputs, z), keras.Model(inputs, ops.softmax(z))
    for model, from_logits in ((logits, True), (softmax, False)):
        model.compile(loss=losses.GuidedComplementEntropy(from_logits=from_logits))
    a, b = (to_numpy(objective("training", m)(y, logits(x))) for m in (logits, softmax))
    np.testing.assert_array_equal(a, b)
    for loss in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        softmax.compile(loss=loss)
        values = [
            to_numpy(objective(name, softmax)(y, logits(x)))
            for name in ("training", "crossentropy")
        ]
        np.testing.assert_allclose(*values, rtol=1e-5)


def test_recompiling_with_another_loss_changes_the_training_loss():
    model = balanced()
    x, y = labelled(model)
    attack = FGSM(eps=0.1, loss="training")
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    xe = to_numpy(attack(model, x, y))
    model.compile(loss=lambda y, z: -keras.losses.sparse_categorical_crossentropy(y, z))
    assert not np.array_equal(xe, attack(model, x, y))


class Encode(layers.Layer):
    """As in cases/nan_gradient.py, sRGB at black pixels."""

    def __init__(self, safe):
        super().__init__()
        self.safe = safe

    def call(self, v):
        u = ops.maximum(v, 0.0031308) if self.safe else v
        curved = 1.055 * u ** (1 / 2.4) - 0.055
        return ops.where(v > 0.0031308, curved, 12.92 * v)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(PGD(eps=0.05, steps=20, seed=0), marks=pytest.mark.seam),
        PGD(eps=0.4, norm="l2", steps=20, seed=0),
        APGD(eps=0.05, steps=20, seed=0),
        APGD(eps=0.4, norm="l2", steps=20, seed=0),
    ],
    ids=lambda attack: f"{attack.name}-{attack.norm}",
)
def test_attacks_called_directly_leave_places_without_a_gradient(attack):
    # For calls that look at no gradient before: the first step goes off the spot, the
    # others start from beside it.
    x = np.random.default_rng(0).random((60, 8, 8, 1), "float32")
    x[x < 0.5] = 0
    left = {}
    for safe in (True, False):
        model = balanced(first=[Encode(safe)])
        y = to_numpy(model(x)).argmax(-1)
        x_adv = to_numpy(attack(model, x, y))
        left[safe] = np.mean(to_numpy(model(x_adv)).argmax(-1) == y)
    assert left[True] < 0.7 and abs(left[False] - left[True]) <= 0.08


@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=0.3, steps=5, seed=0),
        APGD(eps=0.3, steps=20, seed=0),
        FAB(eps=0.3, steps=10, num_targets=2),
        Square(eps=0.3, queries=50, seed=0),
        FMN(norm="linf", steps=30),
    ],
    ids=lambda attack: attack.name,
)
def test_a_masked_class_hides_no_success(attack):
    """A logit of -1e9, as of a class that is switched off, is no measure of a lead."""
    plain = balanced(classes=3)
    x, y = labelled(plain, 20)
    value = keras.layers.Dense(4)
    masked = keras.Sequential([plain, value])
    value.set_weights([np.eye(3, 4), np.array([0, 0, 0, -1e9])])
    before, after = (
        to_numpy(attack.run(Classifier(model), x, y, stop_early=True))
        for model in (plain, masked)
    )
    broken = [to_numpy(plain(x_adv)).argmax(-1) != y for x_adv in (before, after)]
    assert broken[0].mean() > 0.5
    assert broken[1].mean() >= broken[0].mean() - 0.1

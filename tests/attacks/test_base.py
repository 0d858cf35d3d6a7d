"""What every attack keeps, and what it refuses."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import models
from keras_gce.attacks import (
    APGD,
    APGDT,
    BIM,
    FAB,
    FGSM,
    FMN,
    JSMA,
    MIM,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
    HopSkipJump,
    RandomNoise,
    Square,
)
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


@pytest.fixture(scope="module")
def attacked(request):
    """A trained network and digits; a small one where it takes long to compile."""
    if keras.backend.backend() == "tensorflow":
        images = request.getfixturevalue("images")
        return request.getfixturevalue("xe_model"), *images
    model = balanced(classes=5)
    return model, *labelled(model)


def accuracy(model, x, y):
    return float(np.mean(np.argmax(model.predict(x, verbose=0), -1) == y))


def without_softmax(y, z):
    return -ops.take_along_axis(z, y[:, None], 1)


# What a case must take off the accuracy: of 40 images, at least so much.
CASES = [
    (FGSM(eps=0.3), 0.3, "seam"),
    (BIM(eps=0.3), 0.3),
    (BIM(eps=0.3, loss="margin"), 0.3),
    (PGD(eps=0.3, steps=10, seed=1), 0.3),
    (PGD(eps=0.3, steps=10, seed=1, loss="dlr"), 0.3),
    (PGD(eps=0.3, steps=10, seed=1, loss="training"), 0.3),
    (PGD(eps=0.3, steps=5, seed=1, restarts=3), 0.3, "seam"),
    (PGD(eps=0.3, steps=10, loss=without_softmax), 0.3),
    (MIM(eps=0.3, steps=10), 0.3),
    (APGD(eps=0.3, steps=10, seed=1), 0.3),
    (APGD(eps=0.3, steps=10, seed=1, loss="dlr", restarts=2), 0.3, "seam"),
    (APGDT(eps=0.1, steps=20, num_targets=3, seed=3), 0.4),
    (FAB(eps=0.1, steps=10, num_targets=3, seed=3), 0.4, "seam"),
    (Square(eps=0.1, queries=300, seed=3), 0.1),
    (RandomNoise(eps=0.1, samples=30, seed=3), 0.0),
    (HopSkipJump(eps=0.2, queries=150, probes=30, seed=3), 0.1, "seam"),
    (BIM(eps=4.0, norm="l2"), 0.3, "seam"),
    (BIM(eps=4.0, norm="l2", loss="margin"), 0.3),
    (PGD(eps=4.0, norm="l2", steps=10, seed=1), 0.3),
    (PGD(eps=4.0, norm="l2", steps=10, seed=1, loss="dlr"), 0.3),
    (PGD(eps=4.0, norm="l2", steps=10, seed=1, loss="training"), 0.3),
    (PGD(eps=4.0, norm="l2", steps=5, seed=1, restarts=3), 0.3),
    (MIM(eps=4.0, norm="l2", steps=10), 0.3, "seam"),
    (APGD(eps=4.0, norm="l2", steps=10, seed=1), 0.3),
    (APGD(eps=4.0, norm="l2", steps=10, seed=1, loss="dlr", restarts=2), 0.3),
    (APGDT(eps=1.0, norm="l2", steps=20, num_targets=3, seed=3), 0.4, "seam"),
    (FAB(eps=1.0, norm="l2", steps=10, num_targets=None, seed=3), 0.4),
    (Square(eps=1.0, norm="l2", queries=300, seed=3), 0.1, "seam"),
    (RandomNoise(eps=1.0, norm="l2", samples=30, seed=3), 0.0, "seam"),
    (HopSkipJump(eps=4.0, norm="l2", queries=150, probes=30, seed=3), 0.1, "seam"),
    (APGD(eps=20.0, norm="l1", steps=10, seed=1, restarts=2), 0.3, "seam"),
    (APGDT(eps=8.0, norm="l1", steps=20, num_targets=3, seed=3), 0.3),
    (FAB(eps=8.0, norm="l1", steps=10, num_targets=3, seed=3), 0.3, "seam"),
    (Square(eps=20.0, norm="l1", queries=300, seed=3), 0.1, "seam"),
    (RandomNoise(eps=20.0, norm="l1", samples=30, seed=3), 0.0, "seam"),
]


def case(attack, loss, mark=None):
    # Without the addresses of functions, which no two processes share.
    name = re.sub(r" at 0x[0-9a-f]+", "", repr(attack))
    marks = getattr(pytest.mark, mark) if mark else ()
    return pytest.param(attack, loss, id=name, marks=marks)


@pytest.mark.parametrize("attack,loss", [case(*one) for one in CASES])
def test_invariants(attacked, attack, loss):
    model, x, y = attacked
    weights = [w.copy() for w in model.get_weights()]
    x_adv = to_numpy(attack(model, x, y))
    assert x_adv.shape == x.shape and x_adv.dtype == np.float32
    assert np.isfinite(x_adv).all()
    assert x_adv.min() >= 0.0 and x_adv.max() <= 1.0
    # In float64, against the number as the user wrote it.
    delta = (x_adv.astype("float64") - x).reshape(len(x), -1)
    if attack.norm == "linf":
        assert np.abs(delta).max() <= attack.eps
    else:
        order = {"l2": 2, "l1": 1}[attack.norm]
        away = np.linalg.norm(delta, ord=order, axis=1)
        assert away.max() <= attack.eps * (1 + 1e-6)
    if attack.name in ("APGD-T", "Square", "RandomNoise"):
        assert (np.abs(delta).max(axis=1) > 0).all()
    lost = accuracy(model, x, y) - accuracy(model, x_adv, y)
    assert lost > loss if loss else lost >= 0
    if attack.seed is not None:
        np.testing.assert_array_equal(x_adv, attack(model, x, y))
    still = dataclasses.replace(attack, eps=0)
    np.testing.assert_array_equal(still(model, x, y), x)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_one_hot_labels_are_the_integers(xe_model, images):
    x, y = images
    attack = BIM(eps=0.1)
    np.testing.assert_array_equal(
        attack(xe_model, x, y), attack(xe_model, x, np.eye(10)[y])
    )


@pytest.mark.parametrize(
    "attack,settings,received",
    [
        (FGSM, {"eps": -0.1}, "eps=-0.1"),
        (FGSM, {"eps": float("nan")}, "eps=nan"),
        (PGD, {"eps": 0.1, "steps": 0}, "steps=0"),
        (PGD, {"eps": 0.1, "restarts": 0}, "restarts=0"),
        (PGD, {"eps": 0.1, "restarts": 2, "random_start": False}, "restarts=2"),
        (BIM, {"eps": 0.1, "step_size": -1}, "step_size=-1"),
        (MIM, {"eps": 0.1, "decay": -1}, "decay=-1"),
        (FGSM, {"eps": 0.1, "loss": "mse"}, "loss='mse'"),
        (APGD, {"eps": 0.1, "norm": "l7"}, "norm=l7"),
        (FGSM, {"eps": 0.1, "bounds": (1, 0)}, r"bounds=\(1, 0\)"),
        (FGSM, {"eps": 0.1, "seed": -1}, "seed=-1"),
    ],
)
def test_constructors_refuse(attack, settings, received):
    with pytest.raises(InputError, match=f"Received: {received}"):
        attack(**settings)


@pytest.mark.parametrize("attack", [FGSM, BIM, PGD, MIM])
def test_attacks_without_l1_name_those_that_know_it(attack):
    with pytest.raises(InputError) as raised:
        attack(eps=0.1, norm="l1")
    assert str(raised.value) == (
        f"`norm` must be one of linf, l2 for {attack.__name__}; l1 is known to "
        "RandomNoise, APGD, APGDT, FAB, Square, AutoAttack, FMN. Received: norm=l1"
    )


def test_attacks_are_immutable_and_keyword_only():
    attack = PGD(eps=0.3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.eps = 0.1
    with pytest.raises(TypeError):
        PGD(0.3)
    assert "eps=0.3" in repr(attack) and "steps=40" in repr(attack)


def test_calls_refuse(xe_model, images):
    x, y = images
    attack = FGSM(eps=0.1)
    for bad, received in (
        (x * 255, "values from 0.0 to 255.0"),
        (x - 1, "values from -1.0"),
        (np.where(x > 0.5, np.nan, x), "nan"),
        (x[:0], r"x.shape=\(0, 28, 28, 1\)"),
    ):
        with pytest.raises(InputError, match=received):
            attack(xe_model, bad, y)
    for bad, received in (
        (y + 10, "labels from 11"),
        (y - 10, "labels from -9"),
        (y[:-1], r"y.shape=\(39,\)"),
        (y + 0.5, "float64"),
        (np.full((40, 10), 0.1), "Received: y="),
    ):
        with pytest.raises(InputError, match=received):
            attack(xe_model, x, bad)
    with pytest.raises(InputError, match="loss=None"):
        FGSM(eps=0.1, loss="training")(models.SmallCNN(), x, y)


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(eps=0.05, loss="margin"),
        MIM(eps=0.05, steps=5, loss="margin"),
        MIM(eps=0.5, norm="l2", steps=5, loss="margin"),
        PGD(eps=0.5, norm="l2", steps=5, loss="margin", seed=0),
        APGD(eps=0.05, steps=10, loss="dlr", seed=0),
        APGD(eps=0.5, norm="l2", steps=10, loss="margin", seed=0),
        APGDT(eps=0.05, steps=10, num_targets=2, seed=0),
        FAB(eps=0.05, steps=5, num_targets=2, seed=0),
        FAB(eps=0.05, steps=5, num_targets=None, seed=0),
        FAB(eps=0.5, norm="l2", steps=5, num_targets=None, seed=0),
        FMN(norm="l2", steps=5),
        FMN(norm="l1", steps=5),
        JSMA(gamma=0.3, seed=0),
        Square(eps=0.05, queries=20, seed=0),
    ],
    ids=repr,
)
def test_tiny_gradients_are_as_good_as_others(attack):
    model, tiny = balanced(classes=5), balanced(classes=5)
    kernel = tiny.layers[-1].kernel
    # A power of two, so that nothing is rounded in another way: about 1e-20.
    kernel.assign(to_numpy(kernel) * 2.0**-66)
    x, y = labelled(model)
    found = [to_numpy(attack(each, x, y)) for each in (model, tiny)]
    assert np.abs(found[0] - x).max() > 0.01
    # MIM divides by the mean of another scale, which is rounded.
    np.testing.assert_allclose(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("attack", "passes"),
    [
        (FGSM(eps=0.1), 3),
        (PGD(eps=0.1, steps=20, restarts=3), 3 * 20 * 3),
        (APGD(eps=0.1, restarts=2, eot_samples=5), 3 * 100 * 2 * 5),
        (APGDT(eps=0.1, num_targets=2), 3 * 100 * 2),
        # Of 5 classes 4 are wrong.
        (APGDT(eps=0.1), 3 * 100 * 4),
        (FAB(eps=0.1, steps=10), 3 * 10 * 4),
        (FAB(eps=0.1, num_targets=None), 3 * 100 * 5),
        (Square(eps=0.1, queries=300), 300),
        (RandomNoise(eps=0.1, samples=7), 7),
        # A look at each of 4 classes, two searches.
        (FMN(steps=10), 3 * (4 + 2 * 10)),
        (FMN(steps=10, targeted=True), 3 * 10),
        (HopSkipJump(eps=0.1, queries=200), 200),
        (JSMA(gamma=0.5), 2 * 3 * 12),
        (CarliniWagnerL2(max_iterations=10), 3 * 9 * 10),
        (CarliniWagnerL2(max_iterations=10, target="worst"), 3 * 9 * 10 * 4),
        (AutoAttack(eps=0.1), 3 * 100 * 9 + 5000),
    ],
    ids=str,
)
def test_passes_for_a_bar(attack, passes):
    assert attack.passes(features=48, num_classes=5) == passes

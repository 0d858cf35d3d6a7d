import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import backend, losses, models
from keras_gce.attacks import APGD, BIM, FGSM, MIM, PGD, logits_of
from keras_gce.attacks.objectives import objective
from keras_gce.errors import InputError

N = 60


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(N).arrays()


def accuracy(model, x, y):
    return float(np.mean(np.argmax(model.predict(x, verbose=0), -1) == y))


LINF = [
    FGSM(eps=0.3),
    BIM(eps=0.3),
    BIM(eps=0.3, loss="margin"),
    PGD(eps=0.3, steps=10, seed=1),
    PGD(eps=0.3, steps=10, seed=1, loss="dlr"),
    PGD(eps=0.3, steps=10, seed=1, loss="training"),
    PGD(eps=0.3, steps=5, seed=1, restarts=3),
    PGD(eps=0.3, steps=10, loss=lambda y, z: -ops.take_along_axis(z, y[:, None], 1)),
    MIM(eps=0.3, steps=10),
    APGD(eps=0.3, steps=10, seed=1),
    APGD(eps=0.3, steps=10, seed=1, loss="dlr", restarts=2),
]
L2 = [dataclasses.replace(a, norm="l2", eps=4.0) for a in LINF if a.name != "FGSM"]


def without_address(attack):
    """Its repr, the same in each process of a parallel run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(attack))


@pytest.mark.parametrize("attack", LINF + L2, ids=without_address)
def test_invariants(xe_model, images, attack):
    x, y = images
    weights = [w.copy() for w in xe_model.get_weights()]
    x_adv = to_numpy(attack(xe_model, x, y))
    assert x_adv.shape == x.shape and x_adv.dtype == np.float32
    assert np.isfinite(x_adv).all()
    assert x_adv.min() >= 0.0 and x_adv.max() <= 1.0
    # In float64, against the number as the user wrote it.
    delta = x_adv.astype("float64") - x
    if attack.norm == "linf":
        assert np.abs(delta).max() <= attack.eps
    else:
        assert np.sqrt((delta**2).sum((1, 2, 3))).max() <= attack.eps * (1 + 1e-6)
    assert accuracy(xe_model, x_adv, y) < accuracy(xe_model, x, y) - 0.3
    for before, after in zip(weights, xe_model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("eps", [1e-9, 1e-3, 0.1, 0.3, 8 / 255, 1.0])
def test_the_ball_is_kept_exactly_in_float64(xe_model, eps):
    x = np.random.default_rng(0).random((50, 28, 28, 1), "float32")
    x_adv = to_numpy(FGSM(eps=eps)(xe_model, x, np.zeros(50, int)))
    assert np.abs(x_adv.astype("float64") - x.astype("float64")).max() <= eps


@pytest.mark.parametrize("attack", [FGSM, BIM, PGD, MIM])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_zero_returns_the_images(xe_model, images, attack, norm):
    x, y = images
    np.testing.assert_array_equal(attack(eps=0, norm=norm)(xe_model, x, y), x)


@pytest.mark.parametrize("norm,eps", [("linf", 0.3), ("l2", 5.0)])
def test_targeted_reaches_the_targets(xe_model, images, norm, eps):
    x, y = images
    targets = (y + 1) % 10
    attack = PGD(eps=eps, norm=norm, steps=40, targeted=True, seed=0)
    x_adv = attack(xe_model, x, targets)
    assert accuracy(xe_model, x_adv, targets) > 0.5


def test_restarts_keep_the_best(xe_model, images):
    x, y = images
    one = PGD(eps=0.1, steps=5, seed=3)
    three = dataclasses.replace(one, restarts=3)
    assert accuracy(xe_model, three(xe_model, x, y), y) <= accuracy(
        xe_model, one(xe_model, x, y), y
    )


def test_seed_decides_the_start(xe_model, images):
    x, y = images
    first, same, other, drawn = (
        to_numpy(PGD(eps=0.1, steps=2, seed=seed)(xe_model, x, y))
        for seed in (1, 1, 2, None)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drawn)


def test_one_trace_for_all_steps_and_batch_sizes(tf, xe_model, images):
    x, y = images
    calls = []

    def counted(y, logits):
        calls.append(1)
        return objective("crossentropy", xe_model)(y, logits)

    before = backend.trace_count(xe_model)
    for eps, steps, size in ((0.1, 1, 7), (0.1, 5, 60), (0.2, 40, 60), (0.3, 10, 1)):
        PGD(eps=eps, steps=steps, loss=counted)(xe_model, x[:size], y[:size])
    assert backend.trace_count(xe_model) - before == 1
    assert len(calls) == 1


def test_weights_are_read_at_every_call(images):
    x, y = images
    model = models.SmallCNN()
    attack = FGSM(eps=0.1)
    before = to_numpy(attack(model, x, y))
    model.set_weights([-w for w in model.get_weights()])
    assert not np.array_equal(before, attack(model, x, y))


def test_recompiling_with_another_loss_changes_the_training_loss(images):
    x, y = images
    model = models.SmallCNN()
    attack = FGSM(eps=0.1, loss="training")
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    xe = to_numpy(attack(model, x, y))
    model.compile(loss=lambda y, z: -keras.losses.sparse_categorical_crossentropy(y, z))
    assert not np.array_equal(xe, attack(model, x, y))


@pytest.mark.parametrize("name", ["fgsm", "bim", "mim"])
def test_agrees_with_cleverhans_element_by_element(tf, xe_model, images, name):
    # The peer itself, not our adapter, called as its documentation says.
    from cleverhans.tf2.attacks import (
        momentum_iterative_method,
        projected_gradient_descent,
    )

    x, y = images

    def logits(x):
        return xe_model(x, training=False)

    bounds = {"clip_min": 0.0, "clip_max": 1.0, "sanity_checks": False}
    if name == "mim":
        peer = momentum_iterative_method.momentum_iterative_method(
            logits, x, 0.1, 0.01, 10, np.inf, y=y, **bounds
        )
        ours = MIM(eps=0.1, steps=10)(xe_model, x, y)
    else:
        steps = {"fgsm": 1, "bim": 10}[name]
        peer = projected_gradient_descent.projected_gradient_descent(
            logits, x, 0.1, 0.1 / steps, steps, np.inf, y=y, rand_init=False, **bounds
        )
        ours = {"fgsm": FGSM, "bim": BIM}[name](eps=0.1)(xe_model, x, y)
    np.testing.assert_allclose(ours, peer, atol=1e-6)


def test_one_hot_labels_are_the_integers(xe_model, images):
    x, y = images
    attack = BIM(eps=0.1)
    np.testing.assert_array_equal(
        attack(xe_model, x, y), attack(xe_model, x, np.eye(10)[y])
    )


def softmax_model(name):
    dense = keras.layers.Dense
    if name == "layer":
        layers = [dense(5), dense(4), keras.layers.Softmax()]
    elif name == "activation":
        layers = [dense(5), dense(4), keras.layers.Activation("softmax")]
    else:
        layers = [dense(5, activation="relu"), dense(4, activation="softmax")]
    model = keras.Sequential([keras.Input((6,)), *layers])
    if name == "functional":
        return keras.Model(model.inputs, model.outputs)
    if name == "nested":
        return keras.Sequential([keras.Input((6,)), dense(6), model])
    if name == "operation":
        return keras.Model(model.inputs, ops.softmax(dense(4)(model.layers[0].output)))
    return model


@pytest.mark.parametrize(
    "name",
    ["sequential", "functional", "layer", "activation", "operation", "nested"],
)
def test_logits_of_softmax_models(name):
    model = softmax_model(name)
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    before = model.predict(x, verbose=0)
    logits = to_numpy(logits_of(model)(x))
    np.testing.assert_allclose(ops.softmax(logits), before, atol=1e-6)
    assert not np.allclose(logits, before)
    # Looking for the logits has left the model as it was.
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_logits_of_refuses_what_hides_them():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "sigmoid")])
    with pytest.raises(InputError, match="activation sigmoid"):
        logits_of(model)
    with pytest.raises(InputError, match="model=3"):
        logits_of(3)
    a = keras.Input((3,))
    two = keras.Model(a, [keras.layers.Dense(3)(a), keras.layers.Dense(3)(a)])
    with pytest.raises(InputError, match="2 outputs"):
        logits_of(two)

    class Hidden(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="softmax")

        def call(self, x):
            return self.dense(x)

    hidden = Hidden()
    hidden(np.zeros((2, 3), "float32"))
    with pytest.raises(InputError, match="looks like probabilities"):
        FGSM(eps=0.1)(hidden, np.zeros((2, 3), "float32"), np.zeros(2, int))


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


def test_margin_and_dlr_by_hand():
    # z = (1, 3, 0, 2), y = 0: margin 3 - 1; DLR 2 / (3 - 1), the third largest being 1.
    z, y = ops.convert_to_tensor([[1.0, 3.0, 0.0, 2.0]]), ops.convert_to_tensor([0])
    assert float(objective("margin", None)(y, z)[0]) == 2.0
    assert float(objective("dlr", None)(y, z)[0]) == pytest.approx(1.0)


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
        (FGSM, {"eps": 0.1, "norm": "l1"}, "norm=l1"),
        (FGSM, {"eps": 0.1, "bounds": (1, 0)}, r"bounds=\(1, 0\)"),
        (FGSM, {"eps": 0.1, "seed": -1}, "seed=-1"),
    ],
)
def test_constructors_refuse(attack, settings, received):
    with pytest.raises(InputError, match=f"Received: {received}"):
        attack(**settings)


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
        (y + 10, "labels from 10"),
        (y - 10, "labels from -10"),
        (y[:-1], r"y.shape=\(59,\)"),
        (y + 0.5, "float64"),
        (np.full((N, 10), 0.1), "Received: y="),
    ):
        with pytest.raises(InputError, match=received):
            attack(xe_model, x, bad)
    with pytest.raises(InputError, match="loss=None"):
        FGSM(eps=0.1, loss="training")(models.SmallCNN(), x, y)

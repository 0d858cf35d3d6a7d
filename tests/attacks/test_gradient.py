"""The gradient attacks: their one loop, against the peer and by its settings."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import BIM, FGSM, MIM, PGD
from keras_gce.attacks.objectives import objective
from keras_gce.classifier import Classifier
from keras_gce.evaluation import evaluate


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


@pytest.fixture(scope="module")
def model():
    return balanced(classes=5)


@pytest.fixture(scope="module")
def data(model):
    return labelled(model)


def accuracy(model, x, y):
    return float(np.mean(np.argmax(model.predict(x, verbose=0), -1) == y))


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


@pytest.mark.seam
def test_seed_decides_the_start(model, data):
    x, y = data
    first, same, other, drawn = (
        to_numpy(PGD(eps=0.1, steps=2, seed=seed)(model, x, y))
        for seed in (1, 1, 2, None)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drawn)


@pytest.mark.seam
def test_a_start_of_noise_that_is_returned_lies_in_the_ball(model, data):
    x, y = np.round(data[0]), (data[1] + 1) % 5
    attack = PGD(eps=1e-4, random_start="normal", seed=0)
    x_adv = to_numpy(attack.run(Classifier(model), x, y, stop_early=True))
    moved = np.abs(x_adv - x).reshape(len(x), -1).max(-1)
    assert (moved > 0).all() and moved.max() <= np.float32(1e-4)
    assert x_adv.min() >= 0 and x_adv.max() <= 1


def test_one_trace_for_all_steps_and_batch_sizes(tf, xe_model, images):
    x, y = images
    calls = []

    def counted(y, logits):
        calls.append(1)
        return objective("crossentropy", xe_model)(y, logits)

    before = backend.trace_count(xe_model)
    for eps, steps, size in ((0.1, 1, 7), (0.1, 5, 40), (0.2, 20, 40), (0.3, 10, 1)):
        PGD(eps=eps, steps=steps, loss=counted)(xe_model, x[:size], y[:size])
    assert backend.trace_count(xe_model) - before == 1
    assert len(calls) == 1


@pytest.mark.seam
def test_weights_are_read_at_every_call(data):
    x, y = data
    model = balanced(classes=5)
    attack = FGSM(eps=0.1)
    before = to_numpy(attack(model, x, y))
    model.set_weights([-w for w in model.get_weights()])
    assert not np.array_equal(before, attack(model, x, y))


@pytest.mark.integration
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


@pytest.mark.parametrize(
    "attack,step_size",
    # 2.5 eps / steps of Madry et al.; eps / steps of Kurakin et al. and Dong et al.
    [
        (PGD(eps=0.4, steps=10, seed=0), 0.1),
        (PGD(eps=0.4, steps=10, seed=0, random_start=False), 0.1),
        (BIM(eps=0.4, steps=8), 0.05),
        (MIM(eps=0.4, steps=8), 0.05),
        (FGSM(eps=0.4), 0.4),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_default_step(model, data, attack, step_size):
    x, y = data
    default = to_numpy(attack(model, x, y))
    assert attack.settings(0)["step_size"] == np.float32(step_size)
    if attack.name == "FGSM":
        assert np.abs(default - x).max() > 0.399
        return
    given = dataclasses.replace(attack, step_size=step_size)
    np.testing.assert_array_equal(default, to_numpy(given(model, x, y)))
    other = dataclasses.replace(attack, step_size=step_size / 2)
    assert not np.array_equal(default, to_numpy(other(model, x, y)))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_momentum_out_of_float32_is_followed(model, data, norm):
    x, y = data
    attack = MIM(eps=0.2, norm=norm, steps=20, decay=1e4)
    delta = (to_numpy(attack(model, x, y)) - x).reshape(len(x), -1)
    lengths = np.linalg.norm(delta, np.inf if norm == "linf" else 2, axis=1)
    assert (lengths > 0.15).all()


class Counting(layers.Layer):
    """Counts the passes of each image, known by its second pixel."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def call(self, v):
        import tensorflow

        def count(images):
            self.passes.append(images.numpy().reshape(len(images), -1))
            return images

        counted = tensorflow.py_function(count, [v], "float32")
        counted = tensorflow.ensure_shape(counted, v.shape)
        return v + tensorflow.stop_gradient(counted - v)


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_all_restarts_take_the_same_steps(tf, restarts):
    counting = Counting()
    model = balanced(classes=5, first=[counting])
    x, y = labelled(model, 6)
    steps, eps = 4, 1e-4  # Too small to succeed: nothing leaves early.
    attack = PGD(eps=eps, steps=steps, restarts=restarts, seed=0)
    counting.passes.clear()
    x_adv = to_numpy(attack.run(Classifier(model), x, y, seed=0, stop_early=True))
    assert (to_numpy(balanced(classes=5)(x_adv)).argmax(-1) == y).all()
    passes = np.array(counting.passes)
    # A look at the end of each restart but the last, which the caller looks at.
    assert len(passes) == steps * restarts + restarts - 1
    starts = passes[:: steps + 1]
    assert len(starts) == restarts
    flat = x.reshape(6, -1)
    for a in range(restarts):
        assert np.abs(starts[a] - flat).max() <= eps * (1 + 1e-2)
        assert not any(np.array_equal(starts[a], starts[b]) for b in range(a))
    # All of a restart's steps move on from its start.
    for passed in (passes[i : i + steps] for i in range(0, len(passes), steps + 1)):
        moved = np.abs(np.diff(passed, axis=0)).max(axis=(1, 2))
        assert len(moved) == steps - 1 and (moved > 0).all()
    # The last step's end is what is returned.
    assert np.abs(x_adv.reshape(6, -1) - passes[-1]).max() > 0


@pytest.mark.parametrize("margin,succeeds", [(0.35, True), (0.45, False)])
def test_a_second_restart_goes_as_far_as_the_first(margin, succeeds):
    # Two classes of the logits [0, z] with z = the sum of four features - 2 - margin,
    # which is at most 0.4 - margin. Four steps of eps / 2 reach the ball's best corner
    # from anywhere in it; three do not.
    kernel = np.ones((4, 1), "float32")
    inputs = keras.Input((4,))
    z = ops.matmul(inputs, ops.convert_to_tensor(kernel)) - (2 + margin)
    model = keras.Model(inputs, ops.concatenate([0 * z, z], axis=-1))
    x, y = np.full((8, 4), 0.5, "float32"), np.zeros(8, int)
    attack = PGD(eps=0.1, step_size=0.05, steps=4, restarts=2, seed=0)
    found = to_numpy(attack.run(Classifier(model), x, y, seed=0, stop_early=True))
    assert ((found.sum(1) > 2 + margin) == succeeds).all()
    if not succeeds:
        np.testing.assert_allclose(found, 0.6, atol=1e-6)


def test_restarts_under_an_early_stop_are_those_without(model, data):
    x, y = data
    one = PGD(eps=0.03, steps=5, seed=0)
    many = dataclasses.replace(one, restarts=3)
    left = [
        evaluate(
            model, data, attack, None, progress=False, diagnostics=False
        ).row_robust[0]
        for attack in (one, many)
    ]
    # The first start is the same, so that more of them break no less.
    assert not (left[1] & ~left[0]).any()
    whole = to_numpy(many.run(Classifier(model), x, y, seed=0))
    right = Classifier(model).right(whole, y)
    assert 0.1 < right.mean() < 0.9
    # Ours leaves at the first success, which later steps may undo.
    assert not (left[1] & ~right).any()

"""Auto-PGD against its paper's algorithm, written out."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend, evaluate
from keras_gce.attacks import APGD, APGDT, PGD
from keras_gce.attacks.apgd_l1 import schedule_l1
from keras_gce.attacks.ball import TensorSeed
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(30).arrays()


def algorithm_1(model, x, y, eps, steps, seed):
    """One example after the other; returns the best point and how often it halved."""
    seed = TensorSeed(ops.convert_to_tensor(np.array([seed, 0], "int32")))
    noise = to_numpy(seed.uniform(x.shape, -1.0, 1.0))
    noise = noise / np.abs(noise).max(axis=(1, 2, 3), keepdims=True)

    def value_and_gradient(image, label):
        def values(v):
            z = model(v, training=False)
            return keras.losses.sparse_categorical_crossentropy(label, z, True), 0

        gradient, value, _ = backend.gradient_of(values, ops.convert_to_tensor(image))
        return float(value[0]), to_numpy(gradient)

    results, halvings = [], 0
    for k in range(len(x)):
        image, label = x[k : k + 1], y[k : k + 1]

        def project(v, image=image):
            return np.clip(np.clip(v, image - eps, image + eps), 0, 1)

        now = before = project(image + eps * noise[k : k + 1])
        size = 2 * eps
        value, gradient = value_and_gradient(now, label)
        history, best = [value], (value, now, gradient)
        # The checkpoints of the paper: p_0 = 0, p_1 = 0.22, and ever shorter.
        window = max(int(0.22 * steps), 1)
        look, last_look, halved, best_then = window, 0, True, value
        for i in range(1, steps + 1):
            # The update from the point `now`, then its value.
            target = project(now + size * np.sign(gradient))
            weight = 1.0 if i == 1 else 0.75
            moved = project(
                now + weight * (target - now) + (1 - weight) * (now - before)
            )
            before, now = now, moved
            value, gradient = value_and_gradient(now, label)
            history.append(value)
            if value > best[0]:
                best = (value, now, gradient)
            if i == look:
                rises = sum(
                    b > a
                    for a, b in zip(
                        history[last_look:i], history[last_look + 1 :], strict=True
                    )
                )
                stuck = not halved and best[0] <= best_then
                halved = rises <= 0.75 * window or stuck
                if halved:
                    size /= 2
                    halvings += 1
                    _, now, gradient = best
                best_then, last_look = best[0], i
                window = max(window - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
                look = i + window
        results.append(best[1])
    return np.concatenate(results), halvings


def test_it_is_the_papers_algorithm(xe_model, images):
    x, y = (part[:6] for part in images)
    # So small a ball that nothing succeeds: the best loss is what is returned.
    eps, steps = 0.004, 40
    ours = to_numpy(APGD(eps=eps, steps=steps, seed=7)(xe_model, x, y))
    right = np.argmax(xe_model.predict(ours, verbose=0), -1) == y
    assert right.sum() >= 5
    reference, halvings = algorithm_1(xe_model, x, y, eps, steps, 7)
    assert halvings > 6
    # A gradient that is all but 0 has another sign in another order of sums.
    assert np.isclose(ours[right], reference[right], rtol=0, atol=1e-4).mean() > 0.995


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_breaks_at_least_what_pgd_of_as_many_steps_breaks(xe_model, images, norm):
    eps = 0.05 if norm == "linf" else 0.7

    def left(attack):
        report = evaluate(
            xe_model, images, attack, "crossentropy", progress=False, diagnostics=False
        )
        return report.worst_case_accuracy, report.clean_accuracy

    pgd, clean = left(PGD(eps=eps, step_size=eps / 4, steps=20, norm=norm))
    apgd, _ = left(APGD(eps=eps, steps=20, norm=norm))
    assert apgd <= pgd < clean


@pytest.mark.parametrize("attack", [APGD, PGD])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_start_elsewhere_and_keep_the_greatest_loss(attack, norm):
    # Waves, with many maxima; the true class is far too certain to lose.
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Rescaling(50.0),
            keras.layers.Activation(ops.sin),
            keras.layers.Dense(2, kernel_initializer="ones"),
        ]
    )
    model.layers[-1].bias.assign([100.0, 0.0])
    x = np.random.default_rng(0).random((10, 20), "float32")
    y = np.zeros(10, "int32")

    def height(restarts):
        settings = {"norm": norm, "seed": 0, "loss": lambda y, z: z[:, 1]}
        run = attack(eps=0.2, steps=10, restarts=restarts, **settings)
        return to_numpy(model(run(model, x, y)))[:, 1]

    once, often = height(1), height(6)
    assert (often >= once).all() and (often > once + 0.1).sum() >= 3
    # In `evaluate` too: what PGD returns of those not broken is where it ended.
    ends = [
        to_numpy(
            PGD(eps=0.2, restarts=n, seed=0).run(
                Classifier(model), x, y, stop_early=True
            )
        )
        for n in (1, 2)
    ]
    assert np.abs(ends[0] - ends[1]).max() > 0.01


def test_it_reaches_the_furthest_point_of_a_linear_model_in_l1():
    """All the room of the steepest features, the last one's in part."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(60, 2)).astype("float32")
    x = rng.random((8, 60), "float32")
    model = keras.Sequential([keras.Input((60,)), keras.layers.Dense(2)])
    # So certain that nothing succeeds: the best point is what is returned.
    model.set_weights([w, np.array([300.0, 0.0])])
    y, slope = np.zeros(8, "int32"), w[:, 1] - w[:, 0]
    room = np.where(slope > 0, 1 - x, x)
    order = np.argsort(-np.abs(slope))
    taken = np.diff(np.minimum(np.cumsum(room[:, order], axis=1), 3.0), prepend=0)
    most = taken @ np.abs(slope)[order]
    x_adv = to_numpy(APGD(eps=3.0, norm="l1", loss="margin", seed=0)(model, x, y))
    np.testing.assert_allclose((x_adv - x) @ slope, most, rtol=0.01)
    # In another unit it goes the same way.
    model.set_weights([w / 255, np.array([300.0, 0.0])])
    attack = APGD(eps=3.0 * 255, norm="l1", loss="margin", seed=0, bounds=(0, 255))
    other = to_numpy(attack(model, x * 255, y))
    np.testing.assert_allclose(other / 255, x_adv, atol=1e-3)


def test_the_stages_in_l1_are_the_authors():
    # decr_eps_pgd in their autopgd_base.py: 30, 30 and 40% of the steps; a look after
    # each 4% of a stage.
    assert schedule_l1(100) == {"wide": 30, "look_wide": 1, "look_last": 1}
    assert schedule_l1(1000) == {"wide": 300, "look_wide": 12, "look_last": 16}
    # Theirs takes less than no step in the last stage.
    assert [schedule_l1(steps)["wide"] for steps in (1, 2, 3, 4)] == [0, 0, 1, 1]


def test_targeted_reaches_the_targets(xe_model, images):
    x, y = images
    targets = (y + 1) % 10
    x_adv = APGD(eps=0.3, steps=20, targeted=True, seed=0)(xe_model, x, targets)
    reached = np.argmax(xe_model.predict(x_adv, verbose=0), -1) == targets
    assert reached.mean() > 0.9


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for steps, restarts, n in ((3, 1, 30), (7, 2, 30), (3, 1, 11)):
        APGD(eps=0.1, steps=steps, restarts=restarts)(model, x[:n], y[:n])
        APGDT(eps=0.1, steps=steps, restarts=restarts)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 2


def test_wrong_input():
    for settings, received in (
        ({"steps": 0}, "steps=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"eps": -0.1}, "eps=-0.1"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"norm": "l7"}, "norm=l7"),
        ({"eot_samples": 0}, "eot_samples=0"),
    ):
        with pytest.raises(InputError, match=received):
            APGD(**{"eps": 0.1} | settings)
    for settings, received in (
        ({"steps": 0}, "steps=0"),
        ({"num_targets": 0}, "num_targets=0"),
        ({"targeted": True}, "targeted=True"),
    ):
        with pytest.raises(InputError, match=received):
            APGDT(**{"eps": 0.1} | settings)

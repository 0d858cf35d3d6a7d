"""JSMA against brute force, pair by pair and pixel by pixel."""

import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled
from twins import under_each

from keras_gce import backend
from keras_gce.attacks import JSMA
from keras_gce.attacks.jsma import best_pair
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def classes(model, x):
    return np.argmax(model.predict(x, verbose=0), -1)


def all_pairs(a, c, allowed):
    """The full square, in NumPy: the greatest score and the first pair that has it."""
    a_sum, c_sum = a[:, None] + a[None], c[:, None] + c[None]
    valid = (a_sum > 0) & (c_sum > 0) & allowed[:, None] & allowed[None]
    score = np.where(valid & ~np.eye(len(a), dtype=bool), a_sum * c_sum, -np.inf)
    return score.max(), *divmod(int(score.argmax()), len(a))


KINDS = ("random", "opposed", "many on the front", "tied")


@pytest.mark.parametrize(
    "features,kind",
    # Not every library's sort is stable.
    [
        pytest.param(
            n, kind, marks=pytest.mark.seam if (n, kind) == (33, "tied") else ()
        )
        for n in (2, 5, 32, 33, 200)
        for kind in KINDS
    ],
)
def test_best_pair_is_that_of_the_full_square(features, kind):
    rng = np.random.default_rng(features)
    a, c = rng.normal(size=(2, 30, features)).astype("float32")
    if kind == "opposed":
        c = -a + 0.1 * c
    elif kind == "many on the front":
        # A hyperbola: no feature is below another in both, so none can be left out.
        a = np.abs(a) + 0.01
        c = 1 / a
    elif kind == "tied":
        a, c = np.round(a), np.round(c)
    allowed = rng.random(a.shape) < 0.8
    score, p, q = (to_numpy(value) for value in best_pair(a, c, allowed))
    for i in range(len(a)):
        best, first, second = all_pairs(a[i], c[i], allowed[i])
        assert score[i] == best
        if best == -np.inf:
            continue
        pair = [p[i], q[i]]
        assert allowed[i][pair].all() and p[i] != q[i]
        if kind == "tied":
            assert (a[i][pair].sum() * c[i][pair].sum()) == best
        else:
            assert sorted(pair) == sorted((first, second))


def test_identical_features_are_taken_by_their_index():
    a = np.array([[0, 2, 0, 2, 2, 0]], "float32")
    score, p, q = best_pair(a, a, np.ones_like(a, bool))
    assert (float(score[0]), int(p[0]), int(q[0])) == (16.0, 1, 3)


def small_model():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Flatten(),
            layers.Dense(24, activation="tanh"),
            layers.Dense(5),
        ]
    )


def jsma_by_brute_force(model, x, target, theta, gamma):
    """Papernot et al.'s algorithm, one image at a time, with all classes' gradients."""
    dense = [
        layer.get_weights() for layer in model.layers if isinstance(layer, keras.Layer)
    ]
    (w1, b1), (w2, b2) = (weights for weights in dense if weights)
    x = x.reshape(-1).copy()
    allowed = x < 1 if theta > 0 else x > 0
    for _ in range(int(np.floor(x.size * gamma / 2))):
        hidden = np.tanh(x @ w1 + b1)
        if np.argmax(hidden @ w2 + b2) == target:
            break
        jacobian = (w1 * (1 - hidden**2)) @ w2
        a = jacobian[:, target] * np.sign(theta)
        b = np.delete(jacobian, target, axis=1).sum(1) * np.sign(theta)
        best, p, q = all_pairs(a, -b, allowed)
        if best == -np.inf:
            break
        x[[p, q]] = np.clip(x[[p, q]] + np.float32(theta), 0, 1)
        allowed[[p, q]] = False
    return x


@pytest.mark.parametrize("theta", under_each([1.0, -1.0, 0.3, -0.3], -0.3))
@pytest.mark.parametrize("gamma", [0.2, 1.0])
def test_jsma_picks_the_pixels_of_brute_force(theta, gamma):
    model = small_model()
    rng = np.random.default_rng(0)
    x = np.clip(rng.random((40, 4, 4, 2)) * 1.4 - 0.2, 0, 1).astype("float32")
    targets = rng.integers(0, 5, 40)
    attack = JSMA(theta=theta, gamma=gamma, targeted=True)
    x_adv = to_numpy(attack(model, x, targets))
    expected = [
        jsma_by_brute_force(model, image, target, theta, gamma)
        for image, target in zip(x, targets, strict=True)
    ]
    np.testing.assert_allclose(x_adv.reshape(40, -1), expected, atol=1e-6)
    assert (x_adv != x).any()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize(
    ("images", "features", "front"), [(32, 12288, "small"), (1, 8192, "whole")]
)
def test_best_pair_of_large_images_needs_no_square(tf, images, features, front):
    # In float32 the pairs would be 19 GB for 32 images of 64 x 64 x 3, and 268 MB for
    # the one whose features are all on the front.
    def megabytes(name):
        status = pathlib.Path("/proc/self/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024

    a, c = np.random.default_rng(0).normal(size=(2, images, features)).astype("float32")
    if front == "whole":
        a = np.abs(a) + 0.01
        c = 1 / a
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    held = megabytes("VmRSS")
    score, _, _ = tf.function(best_pair)(a, c, np.ones(a.shape, bool))
    assert np.isfinite(to_numpy(score)).all()
    assert megabytes("VmHWM") - held < (500 if front == "small" else 130)


@pytest.mark.integration
def test_jsma_keeps_its_budget_and_stops_at_the_target(xe_model, images):
    x, y = images
    targets = (y + 3) % 10
    budget = 2 * (28 * 28 * 0.1 // 2)
    x_adv = to_numpy(JSMA(gamma=0.1, targeted=True)(xe_model, x, targets))
    changed = (x_adv != x).reshape(len(x), -1).sum(1)
    assert changed.max() <= budget
    assert set(np.unique(x_adv[x_adv != x])) == {1.0}
    reached = classes(xe_model, x_adv) == targets
    assert 0.2 < reached.mean() < 1
    assert changed[reached].mean() < budget
    # At the target already: nothing is changed.
    now = classes(xe_model, x)
    np.testing.assert_array_equal(JSMA(targeted=True)(xe_model, x, now), x)


@pytest.mark.parametrize("most,changed", [(1, 2), (2, 4), (50, 6)])
def test_jsma_takes_the_fewer_iterations(most, changed):
    # Of 32 features gamma 0.2 allows 3 pairs.
    attack = JSMA(gamma=0.2, max_iterations=most, targeted=True)
    model = small_model()
    x = np.random.default_rng(0).uniform(0.1, 0.9, (10, 4, 4, 2)).astype("float32")
    far = model.predict(x, verbose=0).argmin(-1).astype("int32")
    x_adv = to_numpy(attack(model, x, far))
    assert (x_adv != x).reshape(10, -1).sum(1).max() == changed


def test_jsma_in_other_bounds():
    model = small_model()
    x = np.random.default_rng(0).uniform(-1, 3, (10, 4, 4, 2)).astype("float32")
    x_adv = to_numpy(JSMA(theta=9.0, gamma=1.0, bounds=(-1, 3))(model, x, [0] * 10))
    assert x_adv.max() == 3.0 and x_adv.min() >= -1
    with pytest.raises(InputError, match="Received: values"):
        JSMA()(model, x, [0] * 10)


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model, 10)
    for theta, count in ((2.0, 10), (-1.0, 7)):
        JSMA(gamma=0.05 * count, theta=theta)(model, x[:count], y[:count])
    assert backend.trace_count(model) == 1


def test_refusals(xe_model, images):
    x, y = images
    for settings, received in (
        ({"theta": 0}, "theta=0"),
        ({"theta": float("nan")}, "theta=nan"),
        ({"gamma": 0}, "gamma=0"),
        ({"gamma": 1.5}, "gamma=1.5"),
        ({"gamma": -0.1}, "gamma=-0.1"),
        ({"max_iterations": 0}, "max_iterations=0"),
        ({"target": "best"}, "target='best'"),
        ({"target": -1}, "target=-1"),
    ):
        with pytest.raises(InputError, match=f"Received: {received}"):
            JSMA(**settings)
    with pytest.raises(InputError, match="Received: values from"):
        JSMA()(xe_model, x * 2, y)

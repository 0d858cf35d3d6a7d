"""JSMA and C&W, the attacks towards a target class."""

import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import backend
from keras_gce.attacks import JSMA, CarliniWagnerL2
from keras_gce.attacks.jsma import best_pair
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def classes(model, x):
    return np.argmax(model.predict(x, verbose=0), -1)


def l2(x_adv, x):
    return np.sqrt(((x_adv - x) ** 2).reshape(len(x), -1).sum(1))


def all_pairs(a, c, allowed):
    """The full square, in NumPy: the greatest score and the first pair that has it."""
    a_sum, c_sum = a[:, None] + a[None], c[:, None] + c[None]
    valid = (a_sum > 0) & (c_sum > 0) & allowed[:, None] & allowed[None]
    score = np.where(valid & ~np.eye(len(a), dtype=bool), a_sum * c_sum, -np.inf)
    return score.max(), *divmod(int(score.argmax()), len(a))


@pytest.mark.parametrize("features", [2, 5, 32, 33, 200])
@pytest.mark.parametrize("kind", ["random", "opposed", "many on the front", "tied"])
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


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3, -0.3])
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


def test_jsma_in_other_bounds():
    model = small_model()
    x = np.random.default_rng(0).uniform(-1, 3, (10, 4, 4, 2)).astype("float32")
    x_adv = to_numpy(JSMA(theta=9.0, gamma=1.0, bounds=(-1, 3))(model, x, [0] * 10))
    assert x_adv.max() == 3.0 and x_adv.min() >= -1
    with pytest.raises(InputError, match="Received: values"):
        JSMA()(model, x, [0] * 10)


def test_targets(xe_model, images):
    x, y = images
    attack = JSMA(seed=4)
    drawn = attack.targets(Classifier(xe_model), x, y, 4)
    assert (drawn != y).all() and len(set((drawn - y) % 10)) > 5
    np.testing.assert_array_equal(drawn, attack.targets(Classifier(xe_model), x, y, 4))
    assert (drawn != attack.targets(Classifier(xe_model), x, y, 5)).any()
    # The images alone do not show the targets: the same call gives the same images.
    np.testing.assert_array_equal(attack(xe_model, x, y), attack(xe_model, x, y))
    least = JSMA(target="least_likely").targets(Classifier(xe_model), x, y, 0)
    z = xe_model.predict(x, verbose=0)
    z[np.arange(len(y)), y] = np.inf
    np.testing.assert_array_equal(least, z.argmin(1))


def linear(rng, num_classes):
    """A linear model and images whose distance to its planes is known."""
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(num_classes)])
    w = rng.normal(size=(20, num_classes)).astype("float32")
    # Far from the bounds, so that the planes alone limit the attack.
    x = rng.uniform(0.4, 0.6, (30, 20)).astype("float32")
    model.layers[0].set_weights([w, -0.5 * w.sum(0)])
    z = model.predict(x, verbose=0)
    return model, x, z, w


@pytest.mark.parametrize("target", [None, "random"])
def test_cw_finds_the_least_distortion_of_a_linear_model(target):
    # With two classes that is the distance to the one plane between them.
    model, x, z, w = linear(np.random.default_rng(0), 2)
    attack = CarliniWagnerL2(target=target, learning_rate=0.001)
    y = z.argmax(1)
    x_adv = to_numpy(attack(model, x, y))
    assert (classes(model, x_adv) != y).all()
    distance = np.abs(z[:, 0] - z[:, 1]) / np.linalg.norm(w[:, 0] - w[:, 1])
    assert (l2(x_adv, x) > 0.999 * distance).all()
    # Adam's first step goes learning_rate / 2 in each of 20 features.
    step = 0.001 / 2 * np.sqrt(20)
    assert (l2(x_adv, x) < 1.01 * distance + step).all()


def test_cw_of_a_linear_model_with_more_classes_is_near_the_bound():
    # The plane between two classes is a lower bound, met where no third one is nearer.
    model, x, z, w = linear(np.random.default_rng(1), 4)
    y, rows = z.argmax(1), np.arange(30)
    targets = (y + 1) % 4
    attack = CarliniWagnerL2(targeted=True, learning_rate=0.01)
    x_adv = to_numpy(attack(model, x, targets))
    assert (classes(model, x_adv) == targets).all()
    normal = np.linalg.norm(w[:, targets] - w[:, y], axis=0)
    ratio = l2(x_adv, x) * normal / (z[rows, y] - z[rows, targets])
    assert ratio.min() > 0.999
    assert np.median(ratio) < 1.05


FAST = {"max_iterations": 100, "binary_search_steps": 5, "initial_const": 0.1}
FAST |= {"learning_rate": 0.05}


def test_cw_invariants_and_targets(xe_model, images):
    x, y = images
    x, y = x[:10], y[:10]
    distortion = {}
    for target in (None, "random", "least_likely", "best", "worst"):
        attack = CarliniWagnerL2(target=target, seed=0, **FAST)
        x_adv = to_numpy(attack(xe_model, x, y))
        assert x_adv.dtype == np.float32 and np.isfinite(x_adv).all()
        assert x_adv.min() >= 0 and x_adv.max() <= 1
        assert (classes(xe_model, x_adv) != y).all()
        targets = attack.targets(Classifier(xe_model), x, y, 0)
        if targets is not None:
            assert (classes(xe_model, x_adv) == targets).all()
        distortion[target] = l2(x_adv, x)
    assert (distortion["best"] <= distortion["random"] + 1e-6).all()
    assert (distortion["random"] <= distortion["worst"] + 1e-6).all()
    # Not the same program, but the same goal.
    assert distortion[None].mean() < distortion["best"].mean() * 1.1


def test_cw_confidence_and_failure(xe_model, images):
    x, y = images
    x, targets = x[:8], (y[:8] + 1) % 10
    attack = CarliniWagnerL2(targeted=True, confidence=3.0, **FAST)
    x_adv = to_numpy(attack(xe_model, x, targets))
    z = xe_model.predict(x_adv, verbose=0)
    reached = z[np.arange(8), targets]
    z[np.arange(8), targets] = -np.inf
    assert (reached - z.max(1) > 3 - 1e-3).all()
    # Out of reach: the images come back as they were.
    attack = CarliniWagnerL2(targeted=True, confidence=1e6, **FAST)
    np.testing.assert_array_equal(attack(xe_model, x, targets), x)


def test_cw_treats_each_example_by_itself(xe_model, images):
    x, y = images
    attack = CarliniWagnerL2(targeted=True, **FAST)
    together = to_numpy(attack(xe_model, x[:6], (y[:6] + 1) % 10))
    alone = to_numpy(attack(xe_model, x[2:3], (y[2:3] + 1) % 10))
    assert l2(alone, x[2:3]) == pytest.approx(l2(together, x[:6])[2:3], rel=0.02)


def test_one_trace_for_all_settings_and_batch_sizes(tf, images):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    x, y = images
    for settings, count in ((FAST, 10), (FAST | {"max_iterations": 3}, 7)):
        JSMA(gamma=0.01 * count, theta=count - 8.0)(model, x[:count], y[:count])
        CarliniWagnerL2(**settings)(model, x[:count], y[:count])
    assert backend.trace_count(model) == 2


def test_refusals(xe_model, images):
    x, y = images
    for attack, settings, received in (
        (JSMA, {"theta": 0}, "theta=0"),
        (JSMA, {"theta": float("nan")}, "theta=nan"),
        (JSMA, {"gamma": 0}, "gamma=0"),
        (JSMA, {"gamma": 1.5}, "gamma=1.5"),
        (JSMA, {"gamma": -0.1}, "gamma=-0.1"),
        (JSMA, {"target": "best"}, "target='best'"),
        (JSMA, {"target": -1}, "target=-1"),
        (CarliniWagnerL2, {"target": "hardest"}, "target='hardest'"),
        (CarliniWagnerL2, {"max_iterations": 0}, "max_iterations=0"),
        (CarliniWagnerL2, {"binary_search_steps": 0}, "binary_search_steps=0"),
        (CarliniWagnerL2, {"initial_const": 0}, "initial_const=0"),
        (CarliniWagnerL2, {"learning_rate": -1}, "learning_rate=-1"),
        (CarliniWagnerL2, {"confidence": -1}, "confidence=-1"),
    ):
        with pytest.raises(InputError, match=f"Received: {received}"):
            attack(**settings)
    for attack in (JSMA, CarliniWagnerL2):
        with pytest.raises(InputError, match="Received: target=3"):
            attack(target=3)(xe_model, x, np.full(len(y), 3))
        with pytest.raises(InputError, match="Received: values from"):
            attack()(xe_model, x * 2, y)

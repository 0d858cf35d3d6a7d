"""Carlini and Wagner's attack: its distortion against the geometry."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import CarliniWagnerL2
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def classes(model, x):
    return np.argmax(model.predict(x, verbose=0), -1)


def l2(x_adv, x):
    return np.sqrt(((x_adv - x) ** 2).reshape(len(x), -1).sum(1))


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


@pytest.mark.parametrize("target", [None, "random"])
def test_cw_reaches_its_goal_within_the_bounds(xe_model, images, target):
    x, y = images
    x, y = x[:10], y[:10]
    attack = CarliniWagnerL2(target=target, seed=0, **FAST)
    x_adv = to_numpy(attack(xe_model, x, y))
    assert x_adv.dtype == np.float32 and np.isfinite(x_adv).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (classes(xe_model, x_adv) != y).all()
    targets = attack.targets(Classifier(xe_model), x, y, 0)
    if targets is not None:
        assert (classes(xe_model, x_adv) == targets).all()


def test_cw_distortion_by_target():
    model = balanced(classes=3, seed=2)
    x, y = labelled(model, 20)
    distortion = {}
    for target in (None, "random", "least_likely", "best", "worst"):
        attack = CarliniWagnerL2(target=target, seed=0, **FAST)
        x_adv = to_numpy(attack(model, x, y))
        assert x_adv.dtype == np.float32 and np.isfinite(x_adv).all()
        assert x_adv.min() >= 0 and x_adv.max() <= 1
        assert (classes(model, x_adv) != y).all()
        targets = attack.targets(Classifier(model), x, y, 0)
        if targets is not None:
            assert (classes(model, x_adv) == targets).all()
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


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model, 10)
    for settings, count in ((FAST, 10), (FAST | {"max_iterations": 3}, 7)):
        CarliniWagnerL2(**settings)(model, x[:count], y[:count])
    assert backend.trace_count(model) == 1


def test_refusals(xe_model, images):
    x, y = images
    for settings, received in (
        ({"target": "hardest"}, "target='hardest'"),
        ({"max_iterations": 0}, "max_iterations=0"),
        ({"binary_search_steps": 0}, "binary_search_steps=0"),
        ({"initial_const": 0}, "initial_const=0"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"confidence": -1}, "confidence=-1"),
    ):
        with pytest.raises(InputError, match=f"Received: {received}"):
            CarliniWagnerL2(**settings)
    with pytest.raises(InputError, match="Received: values from"):
        CarliniWagnerL2()(xe_model, x * 2, y)

"""FMN: its distances against the geometry."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled
from twins import under_each

from keras_gce import backend
from keras_gce.attacks import FMN
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def distances(x_adv, x, norm):
    delta = (to_numpy(x_adv).astype("float64") - x).reshape(len(x), -1)
    return np.linalg.norm(delta, ord=ORDER[norm], axis=1)


def classes(model, x):
    return np.argmax(to_numpy(model(x)), -1)


def linear(num_classes):
    """A linear model, and images whose distance to its planes is known."""
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(num_classes)])
    rng = np.random.default_rng(0)
    w = rng.normal(size=(10, num_classes)).astype("float32")
    # Far from the bounds, and level on average, so that the planes are near.
    x = rng.uniform(0.4, 0.6, (20, 10)).astype("float32")
    model.set_weights([w, -(x @ w).mean(axis=0)])
    return model, x, to_numpy(model(x)), w


@pytest.mark.parametrize("norm", under_each(NORMS, "linf", "l1"))
def test_finds_the_nearest_plane_of_a_linear_model(norm):
    model, x, z, w = linear(4)
    y = z.argmax(-1)
    # |z_y - z_k| / ||w_y - w_k|| in the dual norm, the least over k.
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = z[np.arange(20), y][:, None] - z
        dual = np.linalg.norm(w.T[y][:, None] - w.T[None], ord=DUAL[norm], axis=-1)
        exact = np.nanmin(np.where(dual > 0, gap / dual, np.nan), axis=1)
    assert exact.min() > 0 and exact.max() < 0.4  # The box does not matter.
    x_adv = FMN(norm=norm)(model, x, y)
    found = distances(x_adv, x, norm)
    assert (classes(model, to_numpy(x_adv)) != y).all()
    assert (found >= exact * (1 - 1e-4)).all()
    # The plane of the likeliest class alone is up to 1.8 times as far. A lead that
    # counts is a little behind the plane.
    assert (found <= exact * 1.0005 + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_towards_a_target(norm):
    model, x, z, w = linear(2)
    targets = z.argmin(-1)
    x_adv = FMN(norm=norm, targeted=True)(model, x, targets)
    assert (classes(model, to_numpy(x_adv)) == targets).all()
    exact = np.abs(z[:, 0] - z[:, 1]) / np.linalg.norm(w[:, 0] - w[:, 1], DUAL[norm])
    np.testing.assert_allclose(distances(x_adv, x, norm), exact, rtol=3e-3)
    # One that is there already is not moved.
    still = FMN(norm=norm, targeted=True)(model, x, z.argmax(-1))
    np.testing.assert_array_equal(still, x)


@pytest.mark.parametrize("norm", under_each(NORMS, "l2"))
def test_invariants(norm):
    model = balanced(classes=5)
    x, y = labelled(model)
    x[:, :4], x[:, 4] = 0, 1  # At the bounds.
    y = classes(model, x)
    y[:5] = (y[:5] + 1) % 5
    weights = [w.copy() for w in model.get_weights()]
    attack = FMN(norm=norm, steps=20)
    x_adv = to_numpy(attack(model, x, y))
    assert x_adv.shape == x.shape and x_adv.dtype == np.float32
    assert np.isfinite(x_adv).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert (classes(model, x_adv) != y).all()
    away = distances(x_adv, x, norm)
    assert (away[:5] == 0).all() and (away[5:] > 0).all()
    np.testing.assert_array_equal(attack(model, x, y), x_adv)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    # More steps come nearer; what evaluation asks for early is the same.
    nearer = to_numpy(FMN(norm=norm)(model, x, y))
    assert np.median(distances(nearer, x, norm)[5:]) < np.median(away[5:])
    early = attack.run(Classifier(model), x, y.astype("int32"), stop_early=True)
    np.testing.assert_array_equal(early, x_adv)


@pytest.mark.parametrize("norm", NORMS)
def test_where_nothing_breaks_the_images_come_back(norm):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    x, y = np.full((2, 3), 0.5, "float32"), np.zeros(2, "int32")
    # Without a gradient; with one, and a boundary beyond the bounds.
    for kernel, bias in ((0, 2), ([[0, 1]] * 3, 9), (0, np.nan)):
        model.set_weights([np.broadcast_to(kernel, (3, 2)), np.array([bias, 0.0])])
        np.testing.assert_array_equal(FMN(norm=norm, steps=9)(model, x, y), x)


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for steps, n in ((3, 30), (4, 7)):
        FMN(steps=steps)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1


def test_wrong_input():
    for settings, received in (
        ({"steps": 0}, "steps=0"),
        ({"norm": "l7"}, "norm=l7"),
        ({"norm": ["l2"]}, r"norm=\['l2'\]"),
    ):
        with pytest.raises(InputError, match=f"Received: {received}"):
            FMN(**settings)

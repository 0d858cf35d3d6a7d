"""FAB: its projection against a linear program, its distances against the geometry."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled
from scipy.optimize import linprog, minimize

from keras_gce import backend
from keras_gce.attacks import APGD, FAB
from keras_gce.attacks.fab import _to_plane
from keras_gce.attacks.geometry import Geometry
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(30).arrays()


def problems(count=6, features=12):
    generator = np.random.default_rng(0)
    for _ in range(count):
        x = generator.random((1, features)).astype("float32")
        x[0, :3], x[0, 3:5] = 0, 1
        w = generator.normal(size=(1, features)).astype("float32")
        share = generator.normal() * 0.2
        yield x, w, np.array([[share * np.abs(w).sum()]], "float32")


def test_linf_projection_is_the_linear_programs():
    for x, w, missing in problems():
        d = to_numpy(_to_plane(x, w, missing, Geometry("linf", (0.0, 1.0))))
        n = x.shape[1]
        sides = np.block(
            [[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]]
        )
        best = linprog(
            [*np.zeros(n), 1],
            A_ub=sides,
            b_ub=np.zeros(2 * n),
            A_eq=[[*w[0], 0]],
            b_eq=missing[0],
            bounds=[*((-v, 1 - v) for v in x[0]), (0, None)],
        )
        assert np.abs(d).max() == pytest.approx(best.fun, rel=1e-4)
        assert (w * d).sum() == pytest.approx(float(missing[0, 0]), rel=1e-4)


def test_l1_projection_is_the_linear_programs():
    for x, w, missing in problems():
        d = to_numpy(_to_plane(x, w, missing, Geometry("l1", (0.0, 1.0))))
        n = x.shape[1]
        # The change as its upward and its downward part.
        best = linprog(
            np.ones(2 * n),
            A_eq=[[*w[0], *-w[0]]],
            b_eq=missing[0],
            bounds=[(0, 1 - v) for v in x[0]] + [(0, v) for v in x[0]],
        )
        assert np.abs(d).sum() == pytest.approx(best.fun, rel=1e-4)
        assert (w * d).sum() == pytest.approx(float(missing[0, 0]), rel=1e-4)


def test_l2_projection_is_the_quadratic_programs():
    for x, w, missing in problems():
        d = to_numpy(_to_plane(x, w, missing, Geometry("l2", (0.0, 1.0))))
        best = minimize(
            lambda v: v @ v,
            np.zeros(x.shape[1]),
            jac=lambda v: 2 * v,
            bounds=[(-v, 1 - v) for v in x[0]],
            constraints={
                "type": "eq",
                "fun": lambda v, w=w, m=missing: w[0] @ v - m[0, 0],
                "jac": lambda v, w=w: w[0],
            },
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert (d**2).sum() == pytest.approx(best.fun, rel=1e-3)
        assert (w * d).sum() == pytest.approx(float(missing[0, 0]), rel=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_where_no_point_reaches_the_plane_it_goes_as_far_as_it_can(norm):
    x, w = (
        np.array([[0.2, 0.7, 0.5]], "float32"),
        np.array([[1.0, -2.0, 0.0]], "float32"),
    )
    d = _to_plane(x, w, np.array([[50.0]], "float32"), Geometry(norm, (0.0, 1.0)))
    np.testing.assert_allclose(d, [[0.8, -0.7, 0.0]], atol=1e-6)
    zero = _to_plane(x, 0 * w, np.array([[1.0]], "float32"), Geometry(norm, (0.0, 1.0)))
    np.testing.assert_array_equal(zero, 0 * x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("num_targets", [9, None])
def test_finds_the_nearest_boundary_of_a_linear_model(norm, num_targets):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4)])
    x = np.random.default_rng(0).uniform(0.4, 0.6, (20, 10)).astype("float32")
    w = model.get_weights()[0]
    # Level on average, so that the boundaries are near.
    model.set_weights([w, -(x @ w).mean(axis=0)])
    z = model.predict(x, verbose=0)
    y = z.argmax(-1).astype("int32")
    # |z_y - z_k| / ||w_y - w_k|| in the dual norm, the least over k.
    order = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = z[np.arange(20), y][:, None] - z
        dual = np.linalg.norm(w.T[y][:, None] - w.T[None], ord=order, axis=-1)
        exact = np.nanmin(np.where(dual > 0, gap / dual, np.nan), axis=1)
    near = exact < 0.3  # inside the bounds the box does not matter
    x_adv = FAB(eps=1.0, norm=norm, num_targets=num_targets, seed=0)(model, x, y)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    found = np.linalg.norm(to_numpy(x_adv) - x, ord=order, axis=1)
    assert near.sum() >= 10
    assert (found[near] >= exact[near] * (1 - 1e-3)).all()
    assert (found[near] <= exact[near] * 1.06).all()


@pytest.mark.integration
@pytest.mark.parametrize("norm,eps", [("linf", 0.05), ("l2", 0.6)])
def test_stays_in_the_ball_and_breaks_about_what_apgd_breaks(
    xe_model, images, norm, eps
):
    x, y = images

    def left(x_adv):
        return np.argmax(xe_model.predict(to_numpy(x_adv), verbose=0), -1) == y

    attack = FAB(eps=eps, norm=norm, steps=30, num_targets=3, seed=0)
    x_adv = to_numpy(attack(xe_model, x, y))
    delta = (x_adv - x).reshape(len(x), -1)
    if norm == "linf":
        assert np.abs(delta).max() <= np.float32(eps)
    else:
        assert np.linalg.norm(delta.astype("float64"), axis=1).max() <= eps * (1 + 1e-6)
    assert x_adv.min() >= 0 and x_adv.max() <= 1 and np.isfinite(x_adv).all()
    moved = np.abs(delta).max(axis=1) > 0
    np.testing.assert_array_equal(left(x_adv), left(x) & ~moved)
    apgd = left(APGD(eps=eps, norm=norm, steps=50, seed=0)(xe_model, x, y))
    assert abs(left(x_adv).mean() - apgd.mean()) <= 0.1
    early = to_numpy(attack.run(Classifier(xe_model), x, y, stop_early=True))
    np.testing.assert_array_equal(left(early), left(x_adv))
    np.testing.assert_array_equal(attack(xe_model, x, y), x_adv)
    still = FAB(eps=0, norm=norm, steps=2)(xe_model, x, y)
    np.testing.assert_array_equal(still, x)


def test_no_gradient_no_move_and_two_classes():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.set_weights([np.zeros((3, 2)), np.array([2.0, 0.0])])
    x, y = np.full((2, 3), 0.5, "float32"), np.zeros(2, "int32")
    for num_targets in (9, None):
        x_adv = FAB(eps=0.5, steps=5, num_targets=num_targets)(model, x, y)
        np.testing.assert_array_equal(x_adv, x)


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for steps, restarts, eps, n in ((3, 1, 0.1, 30), (4, 2, 0.2, 7)):
        FAB(eps=eps, steps=steps, restarts=restarts)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1


def test_wrong_input():
    for settings, received in (
        ({"steps": 0}, "steps=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"num_targets": 0}, "num_targets=0"),
        ({"eps": -0.1}, "eps=-0.1"),
        ({"norm": "l7"}, "norm=l7"),
        ({"targeted": True}, "targeted=True"),
    ):
        with pytest.raises(InputError, match=received):
            FAB(**{"eps": 0.1} | settings)

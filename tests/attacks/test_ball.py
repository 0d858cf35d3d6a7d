"""The ball around an image, kept to the last bit."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from keras.ops import convert_to_tensor
from twins import under_each

from keras_gce.attacks import FGSM
from keras_gce.attacks.ball import (
    TensorSeed,
    over_mean,
    project,
    random_point,
    round_down,
    sparse,
)


@pytest.mark.parametrize("eps", [1e-9, 1e-3, 0.1, 0.3, 8 / 255, 1.0])
def test_the_ball_is_kept_exactly_in_float64(xe_model, eps):
    x = np.random.default_rng(0).random((50, 28, 28, 1), "float32")
    x_adv = to_numpy(FGSM(eps=eps)(xe_model, x, np.zeros(50, int)))
    assert np.abs(x_adv.astype("float64") - x.astype("float64")).max() <= eps


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-66, 1.0, 2.0**66, 2.0**126])
def test_over_the_mean_at_any_scale(scale):
    """MIM's: where the mean is rounded, or the sum of the sizes is infinite."""
    gradient = np.linspace(-1, 1, 784, dtype="float32").reshape(1, 28, 28, 1)
    expected = gradient / np.abs(gradient).mean()
    both = np.concatenate([gradient * np.float32(scale), 0 * gradient])
    found = to_numpy(over_mean(convert_to_tensor(both)))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert not found[1].any()
    alone = to_numpy(over_mean(convert_to_tensor(both[:1])))
    np.testing.assert_allclose(alone, expected, rtol=1e-5)


def furthest(direction, x, eps, low, high):
    """The most of direction . (z - x) in the l1 ball and the bounds: the best first."""
    room = np.where(direction > 0, high - x, x - low)
    order = np.argsort(-np.abs(direction))
    taken = np.diff(np.minimum(np.cumsum(room[order]), eps), prepend=0)
    return np.abs(direction)[order] @ taken


@pytest.mark.parametrize("low,high", [(0.0, 1.0), (0.0, 255.0), (-2.0, 1.5)])
@pytest.mark.parametrize("eps", under_each((0.0, 0.01, 0.3, 8.0, 1e9), 8.0))
def test_the_nearest_point_of_an_l1_ball_and_the_bounds(eps, low, high):
    """By the inequality that says so: no point of both lies further towards `y`."""
    rng = np.random.default_rng(0)
    x = rng.random((8, 6, 10, 1), "float32")
    x[1], x[2] = 0, x[2] > 0.5
    y = x + rng.normal(size=x.shape).astype("float32")
    y[3], y[4, :3], y[5] = x[3], x[4, :3], x[5] + 1e-4
    y[6] = x[6] + 0.25  # Of equal size.
    x, y = (v * np.float32(high - low) + np.float32(low) for v in (x, y))
    x = np.clip(x, low, high)
    eps *= high - low
    given = convert_to_tensor(y), convert_to_tensor(x), round_down(eps)
    z = to_numpy(project(*given, (low, high), "l1"))
    assert z.min() >= low and z.max() <= high
    x, y, z = (v.astype("float64").reshape(8, -1) for v in (x, y, z))
    assert np.abs(z - x).sum(1).max() <= eps * (1 + 1e-6)
    for one_x, one_y, one_z in zip(x, y, z, strict=True):
        missed = one_y - one_z
        most = furthest(missed, one_x, eps, low, high)
        ours = missed @ (one_z - one_x)
        size = np.abs(missed).max() * min(eps, np.abs(one_y - one_x).sum())
        assert ours == pytest.approx(most, abs=1e-4 * size + 1e-12)


@pytest.mark.parametrize("count", [0, 1, 7.9, 60, 99])
def test_few_features_in_l1(count):
    gradient = np.random.default_rng(0).normal(size=(3, 6, 10)).astype("float32")
    gradient[2] = 0
    some = np.full(3, count, "float32")
    found = to_numpy(sparse(convert_to_tensor(gradient), convert_to_tensor(some)))
    changed = min(max(int(np.ceil(count)), 1), 60)
    for number in (0, 1):
        one, of_it = gradient[number].reshape(-1), found[number].reshape(-1)
        expected = np.zeros(60)
        first = np.argsort(-np.abs(one))[:changed]
        expected[first] = np.sign(one[first]) / changed
        np.testing.assert_allclose(of_it, expected, atol=1e-7)
    assert not found[2].any()


def test_noise_is_drawn_evenly_from_the_l1_ball():
    x = np.zeros((4000, 3), "float32")
    point = to_numpy(
        random_point(x, np.float32(2), "l1", TensorSeed(np.array([0, 0], "int32")))
    )
    away = np.abs(point).sum(1)
    assert away.max() <= 2 * (1 + 1e-6)
    # Of a ball in three dimensions an eighth lies within half the radius; of each
    # octant as much.
    assert (away < 1).mean() == pytest.approx(1 / 8, abs=0.02)
    octants = np.unique(point > 0, axis=0, return_counts=True)[1] / len(x)
    np.testing.assert_allclose(octants, np.full(8, 1 / 8), atol=0.02)
    # Evenly on a face: a share is above a half for one corner in four, three corners.
    shares = np.abs(point) / away[:, None]
    assert (shares > 0.5).any(axis=1).mean() == pytest.approx(3 / 4, abs=0.03)

"""The ball around an image, kept to the last bit."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from keras.ops import convert_to_tensor

from keras_gce.attacks import FGSM
from keras_gce.attacks.ball import nearest_l1, over_mean


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


@pytest.mark.parametrize("eps", [0.01, 1.0, 30.0])
def test_the_nearest_point_of_an_l1_ball(eps):
    """Beside the sorted sums of Duchi et al. 2008, Figure 1."""
    delta = np.random.default_rng(0).normal(size=(5, 6, 10)).astype("float32")
    delta[3], delta[4, :, 3:] = 0, 0
    delta[4, 0, :3] = 1.0  # Of equal size.
    found = to_numpy(nearest_l1(convert_to_tensor(delta), np.float32(eps)))
    for one, of_it in zip(delta.reshape(5, -1), found.reshape(5, -1), strict=True):
        size = np.sort(np.abs(one.astype("float64")))[::-1]
        cut = (np.cumsum(size) - eps) / np.arange(1, 61)
        by = max(cut[np.flatnonzero(size > cut).max(initial=0)], 0.0)
        expected = np.sign(one) * np.maximum(np.abs(one) - by, 0)
        np.testing.assert_allclose(of_it, expected, rtol=0, atol=1e-6)
        assert np.abs(of_it.astype("float64")).sum() <= eps * (1 + 1e-5)

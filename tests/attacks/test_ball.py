"""The ball around an image, kept to the last bit."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_gce.attacks import FGSM


@pytest.mark.parametrize("eps", [1e-9, 1e-3, 0.1, 0.3, 8 / 255, 1.0])
def test_the_ball_is_kept_exactly_in_float64(xe_model, eps):
    x = np.random.default_rng(0).random((50, 28, 28, 1), "float32")
    x_adv = to_numpy(FGSM(eps=eps)(xe_model, x, np.zeros(50, int)))
    assert np.abs(x_adv.astype("float64") - x.astype("float64")).max() <= eps

"""A split whose images are all different."""

import numpy as np
import pytest

from keras_gce import datasets


@pytest.fixture
def split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (23, 9, 7, 3), dtype="uint8")
    return datasets.Split(images, np.arange(23))

"""The seam to JAX, whose programs are of fixed shapes and draw no random numbers."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import BIM, FGSM, PGD, RandomNoise
from keras_gce.errors import InputError

pytestmark = pytest.mark.seam


@pytest.fixture
def jax():
    if keras.backend.backend() != "jax":
        pytest.skip("about JAX")


def test_compiled_once_for_a_range_of_batch_sizes(jax):
    model = balanced()
    x, y = labelled(model)
    for eps, n in ((0.1, 40), (0.2, 33), (0.3, 40)):
        PGD(eps=eps, steps=n)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1
    PGD(eps=0.1, steps=2)(model, x[:7], y[:7])
    assert backend.trace_count(model) == 2


def test_filling_up_a_batch_changes_nothing():
    model = balanced()
    x, y = labelled(model)
    attack = BIM(eps=0.1)
    together = to_numpy(attack(model, x[:33], y[:33]))
    alone = to_numpy(attack(model, x[:5], y[:5]))
    assert together.shape == x[:33].shape
    np.testing.assert_allclose(together[:5], alone, atol=1e-5)


def test_random_models_are_refused(jax):
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)

    x, y = labelled(balanced())
    model = balanced(first=[Noise()])
    for attack in (FGSM(eps=0.1), RandomNoise(eps=0.1, samples=2)):
        with pytest.raises(InputError, match="draws random numbers"):
            attack(model, x, y)
    # Dropout does nothing in inference.
    FGSM(eps=0.1)(balanced(first=[keras.layers.Dropout(0.5)]), x, y)

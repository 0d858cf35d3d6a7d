"""`seeded`: the draws inside, and the caller's streams afterwards."""

import contextlib
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_gce.seeds import seeded


def draws():
    """Two draws from each of the global streams that are loaded."""
    found = []
    for _ in range(2):
        found += [random.random(), np.random.rand(), np.random.normal()]
        found += [float(keras.random.uniform(()))]
        if "tensorflow" in sys.modules:
            tf = sys.modules["tensorflow"]
            found += [float(tf.random.uniform(())), float(tf.random.normal(()))]
        if keras.backend.backend() == "torch":
            found.append(float(sys.modules["torch"].rand(())))
    return found


@pytest.mark.seam
def test_inside_it_is_keras_s_seed():
    keras.utils.set_random_seed(3)
    expected = draws()
    draws()
    for _ in range(2):  # A kernel of TensorFlow's counts its draws.
        with seeded(3):
            assert draws() == expected
    with seeded(4):
        assert draws() != expected
    with seeded(2**40):
        draws()


@pytest.mark.seam
@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_streams_go_on(seed, fails):
    keras.utils.set_random_seed(3)
    draws()
    expected = draws()
    keras.utils.set_random_seed(3)
    draws()
    with contextlib.suppress(ZeroDivisionError), seeded(seed), seeded(seed):
        draws()
        draws()
        if fails:
            raise ZeroDivisionError
    assert draws() == expected


def test_what_draws_in_compiled_code_goes_on(tf):
    @tf.function
    def drawn():
        return tf.random.uniform(())

    def both():
        return float(drawn()), float(tf.random.uniform((), seed=5))

    tf.random.set_seed(3)
    expected = [both(), both()]
    tf.random.set_seed(3)
    first = both()
    with seeded(3):
        random.random()
    assert [first, both()] == expected


UNSEEDED = """
import random, sys
import keras, numpy as np
keras.random.SeedGenerator(0)
from keras_gce.seeds import seeded
loaded = set(sys.modules)
states = random.getstate(), np.random.get_state()[1].tolist()
with seeded(0):
    random.random(), np.random.rand(), keras.random.uniform(())
    assert keras.src.utils.rng_utils.get_random_seed() == 0
assert (random.getstate(), np.random.get_state()[1].tolist()) == states
assert keras.src.utils.rng_utils.get_random_seed() is None
assert "tensorflow" in loaded or "tensorflow" not in sys.modules
assert "torch" in loaded or "torch" not in sys.modules
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.framework.random_seed import get_seed
    assert get_seed(None) == (None, None)
    values = set()
    for _ in range(3):
        with seeded(0):
            inside = float(tf.random.uniform(()))
        values.add(float(tf.random.uniform(())))
    assert len(values) == 3 and inside not in values
"""


@pytest.mark.integration
def test_where_there_was_no_seed_there_is_none():
    subprocess.run([sys.executable, "-c", UNSEEDED], check=True)


def test_it_is_cheap():
    with seeded(0):
        pass
    start = time.perf_counter()
    for _ in range(100):
        with seeded(0):
            random.random()
    assert (time.perf_counter() - start) / 100 < 0.01

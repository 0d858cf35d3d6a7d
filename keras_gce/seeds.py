"""`seeded`: random numbers by a seed, and then the caller's own streams again."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
from keras.src.backend.common import global_state

from keras_gce import backend

__all__ = ["seeded"]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global random streams for a block of code, and puts them back.

    Inside they give what they give after `keras.utils.set_random_seed(seed)`: Python's,
    NumPy's, Keras's, TensorFlow's where it is imported, PyTorch's where it is the Keras
    backend. Afterwards, also after an error, each goes on where it was, and is without
    a seed where it had none. Nothing is imported for it, and compiled functions are
    kept, as they are not by `set_random_seed`.

    Example:

    >>> random.seed(7)
    >>> expected = random.random(), random.random()
    >>> random.seed(7)
    >>> first = random.random()
    >>> with seeded(0):
    ...     inside = random.random()
    >>> (first, random.random()) == expected
    True

    Args:
        seed: An integer >= 0.
    """
    with contextlib.ExitStack() as after:
        after.callback(random.setstate, random.getstate())
        random.seed(seed)
        after.callback(np.random.set_state, np.random.get_state(legacy=False))
        np.random.seed(seed % 2**32)
        # What Keras has no public name for: its seed, and the generator made of it.
        for name, value in (
            ("global_random_seed", seed),
            ("global_seed_generator", None),
        ):
            before = global_state.get_global_attribute(name)
            after.callback(global_state.set_global_attribute, name, before)
            global_state.set_global_attribute(name, value)
        after.enter_context(backend.seeded(seed))
        yield

"""`seeded`: random numbers by a seed, and then the caller's own streams again."""

import contextlib
import random
import sys

import keras
import numpy as np
from keras.src.backend.common import global_state

__all__ = ["seeded"]


@contextlib.contextmanager
def seeded(seed):
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
        eager = sys.modules.get("tensorflow.python.eager.context")
        if eager is not None:
            after.enter_context(_tensorflow(eager.context(), seed))
        if keras.backend.backend() == "torch":
            after.enter_context(_torch(seed))
        yield


@contextlib.contextmanager
def _tensorflow(context, seed):
    """Seeds TensorFlow's eager operations.

    `tf.random.set_seed` would also throw away all kernels, compiled functions among
    them, which then take up to a second to be made again, and with them the place of
    every operation that has a seed of its own. Here that happens only if something
    draws that must not meet a kernel which has already drawn by the same seeds.
    """
    before = {name: getattr(context, name, None) for name in ("_seed", "_rng")}
    seeds = _OpSeeds(seed, context)
    context._seed, context._rng = seed, seeds
    try:
        yield
    finally:
        vars(context).update(before)
        if seeds.drawn and before["_seed"] == seed:
            context.clear_kernel_cache()


class _OpSeeds(random.Random):
    """The seeds that TensorFlow gives to operations without one."""

    def __init__(self, seed, context):
        super().__init__(seed)
        self.context, self.drawn = context, False

    # The `Random` of a C type takes one argument.
    def __new__(cls, seed, context):
        return super().__new__(cls, seed)

    def randint(self, a, b):
        if not self.drawn:
            self.context.clear_kernel_cache()
            self.drawn = True
        return super().randint(a, b)


@contextlib.contextmanager
def _torch(seed):
    """Seeds PyTorch's generators, of the CPU and of every CUDA device."""
    import torch

    with torch.random.fork_rng(list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield

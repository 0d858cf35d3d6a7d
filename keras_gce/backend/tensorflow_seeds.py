"""TensorFlow's stream of random numbers, which it may have under other backends too."""

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["seeded"]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds TensorFlow's eager operations for a block of code, where it is imported.

    `tf.random.set_seed` would also throw away all kernels, compiled functions among
    them, which then take up to a second to be made again, and with them the place of
    every operation that has a seed of its own. Here that happens only if something
    draws that must not meet a kernel which has already drawn by the same seeds.
    """
    eager = sys.modules.get("tensorflow.python.eager.context")
    if eager is None:
        yield
        return
    context = eager.context()
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

    def __init__(self, seed: int, context: Any) -> None:
        super().__init__(seed)
        self.context, self.drawn = context, False

    # The `Random` of a C type takes one argument.
    def __new__(cls, seed: int, context: Any) -> "_OpSeeds":
        return super().__new__(cls)

    def randint(self, a: int, b: int) -> int:
        if not self.drawn:
            self.context.clear_kernel_cache()
            self.drawn = True
        return super().randint(a, b)

"""What a model that draws random numbers gives on average."""

from collections.abc import Callable
from typing import Any

from keras import ops, tree

from keras_gce import backend
from keras_gce.checks import State, Tensor

__all__ = ["averaged"]


def averaged(once: Callable[[], Any], samples: Tensor | None) -> Any:
    """Returns the means of what so many passes give.

    Args:
        once: Callable that makes one pass and returns float tensors, in any structure.
        samples: Number of passes, an integer tensor, >= 1; `None`: one.
    """
    first = once()
    if samples is None:
        return first

    # A loop, so that their number is no part of the trace.
    def add(i: Tensor, *sums: Tensor) -> State:
        more = tree.flatten(once())
        return i + 1, *(a + b for a, b in zip(sums, more, strict=True))

    state = (1, *tree.flatten(first))
    _, *sums = backend.while_loop(lambda i, *_: i < samples, add, state)
    count = ops.cast(samples, "float32")
    return tree.pack_sequence_as(first, [value / count for value in sums])

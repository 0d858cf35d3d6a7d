"""The examples of a batch, each with an answer of its own."""

from keras import ops

from keras_gce.checks import Tensor

__all__ = ["by_example", "choose"]


def by_example(value: Tensor, x: Tensor) -> Tensor:
    """Returns values of shape `(N,)` so that they broadcast to images like `x`."""
    return ops.reshape(value, (-1,) + (1,) * (len(x.shape) - 1))


def choose(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns the image of `a` where an example's condition holds, else that of `b`."""
    return ops.where(by_example(condition, b), a, b)

"""Staying in the ball around an image, and starting at random inside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.checks import State, Tensor

__all__ = [
    "TensorSeed",
    "interval",
    "largest",
    "length",
    "nearest_l1",
    "normalize",
    "over_mean",
    "project",
    "random_direction",
    "random_point",
    "rescale",
    "round_down",
]


class TensorSeed:
    """Random numbers from a seed that is a tensor, so that it can be an argument.

    Args:
        state: Integers of shape `(2,)`.
        restart: Number of the restart, an integer tensor. In a graph loop the body is
            traced once, and would draw the same numbers in each round without it.
    """

    def __init__(self, state: Tensor, restart: Tensor = 0) -> None:
        restart = ops.cast(restart, "int32")
        # Room for the draws of one start.
        self._state = state + ops.stack([ops.zeros_like(restart), 16 * restart])

    def uniform(
        self, shape: Sequence[Any], low: float = 0.0, high: float = 1.0
    ) -> Tensor:
        """Draws float32 numbers uniformly from [low, high)."""
        return low + (high - low) * backend.uniform(shape, self._next())

    def normal(self, shape: Sequence[Any]) -> Tensor:
        """Draws float32 numbers of mean 0 and deviation 1."""
        return backend.normal(shape, self._next())

    def _next(self) -> Tensor:
        state = self._state
        self._state = state + ops.convert_to_tensor([0, 1], dtype="int32")
        return state


def round_down(value: float) -> np.float32:
    """Returns the greatest float32 that is not above `value`."""
    rounded = np.float32(value)
    if float(rounded) > float(value):
        rounded = np.nextafter(rounded, np.float32(0))
    return rounded


def interval(
    x: Tensor, eps: Tensor, bounds: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Returns the least and greatest images within `eps` of `x`, and `bounds`.

    Exactly within: where x + eps is rounded outwards, it is taken back. Of an image
    outside the bounds, where there may be no such image, it is the nearest of the ball.
    """
    low, high = bounds
    greatest, least = _add_not_above(x, eps), -_add_not_above(-x, eps)
    return ops.minimum(ops.maximum(least, low), greatest), ops.maximum(
        ops.minimum(greatest, high), least
    )


def _add_not_above(x: Tensor, eps: Tensor) -> Tensor:
    total = x + eps
    # Knuth's TwoSum: total + error is x + eps without rounding.
    added = total - x
    error = (x - (total - added)) + (eps - added)
    inward = ops.maximum(total - ops.abs(total) * 2.0**-23, x)
    return ops.where(error < 0, inward, total)


def project(
    x_adv: Tensor, x: Tensor, eps: Tensor, bounds: tuple[float, float]
) -> Tensor:
    """Returns `x_adv` moved into the l2 ball of radius `eps` around `x`."""
    delta = x_adv - x
    # The sum of the squares is rounded too; this is within 1e-6 all the same.
    away = ops.maximum(length(delta, "l2"), 1e-30)
    factor = ops.minimum(1.0, eps * (1 - 3e-7) / away)
    return ops.clip(x + delta * factor, *bounds)


def normalize(gradient: Tensor, norm: str) -> Tensor:
    """Returns the steepest direction of length 1 in `norm`; 0 for a gradient of 0.

    The gradient is finite: sorting NaN out takes longer than all the rest.
    """
    if norm == "linf":
        return ops.sign(gradient)
    scaled = rescale(gradient)
    return scaled / ops.maximum(length(scaled, "l2"), 1e-30)


def rescale(gradient: Tensor) -> Tensor:
    """Returns `gradient` over its greatest component in size; 0 for a gradient of 0.

    However tiny it is, squares, products and means of what is returned do not vanish.
    """
    return gradient / largest(gradient)


def over_mean(gradient: Tensor) -> Tensor:
    """Returns `gradient` over the mean of its components' sizes; 0 for one of 0."""
    axes = tuple(range(1, len(gradient.shape)))

    def mean(values: Tensor) -> Tensor:
        return ops.mean(ops.abs(values), axis=axes, keepdims=True)

    def careful() -> Tensor:
        rescaled = rescale(gradient)
        return rescaled / ops.maximum(mean(rescaled), 1e-30)

    size = mean(gradient)
    # Hardly ever is one of them so small that its mean is rounded, or so large that
    # the sum is infinite.
    usual = (ops.min(size) > 1e-20) & (ops.max(size) < 1e20)
    return ops.cond(usual, lambda: gradient / size, careful)


def largest(gradient: Tensor) -> Tensor:
    """Returns the size of each image's greatest component; 1 for a gradient of 0."""
    axes = tuple(range(1, len(gradient.shape)))
    most = ops.max(ops.abs(gradient), axis=axes, keepdims=True)
    return ops.where(most > 0, most, 1.0)


def random_direction(x: Tensor, norm: str, seed: TensorSeed) -> Tensor:
    """Returns a random direction for each of the images `x`, of length 1 in `norm`."""
    if norm == "l2":
        return normalize(seed.normal(ops.shape(x)), "l2")
    noise = seed.uniform(ops.shape(x), -1.0, 1.0)
    axes = tuple(range(1, len(x.shape)))
    most = ops.max(ops.abs(noise), axis=axes, keepdims=True)
    return noise / ops.maximum(most, 1e-12)


def random_point(x: Tensor, eps: Tensor, norm: str, seed: TensorSeed) -> Tensor:
    """Returns points drawn uniformly from the balls around the images `x`."""
    shape = ops.shape(x)
    if norm == "linf":
        return x + seed.uniform(shape, -1.0, 1.0) * eps
    direction = random_direction(x, "l2", seed)
    radius_shape = (shape[0],) + (1,) * (len(shape) - 1)
    features = int(np.prod(x.shape[1:]))
    radius = seed.uniform(radius_shape) ** (1 / features)
    return x + direction * radius * eps


def length(delta: Tensor, norm: str) -> Tensor:
    """Returns how long each image's change is in `norm`, of shape `(N, 1, ...)`.

    Args:
        delta: Tensor of shape `(N, ...)`.
        norm: `"linf"`, `"l2"` or `"l1"`.
    """
    axes = tuple(range(1, len(delta.shape)))
    if norm == "linf":
        return ops.max(ops.abs(delta), axis=axes, keepdims=True)
    if norm == "l1":
        return ops.sum(ops.abs(delta), axis=axes, keepdims=True)
    return ops.sqrt(ops.sum(ops.square(delta), axis=axes, keepdims=True))


def nearest_l1(delta: Tensor, eps: Tensor) -> Tensor:
    """Returns the points of l1 balls around 0 that are nearest to `delta`.

    Each component moves towards 0 by the same amount, and to 0 at most, so that what
    lies between bounds stays there.

    Args:
        delta: Tensor of shape `(N, ...)`.
        eps: The radii, of shape `(N, 1, ...)`; kept within 1e-5 relative.

    Reference:
        Duchi et al., "Efficient Projections onto the l1-Ball for Learning in High
        Dimensions", ICML 2008, Eq. 3 and 4; here without sorting.
    """
    axes = tuple(range(1, len(delta.shape)))
    size = ops.abs(delta)

    # What is left, sum(max(size - by, 0)), is convex and piecewise linear in `by`:
    # Newton's steps reach it from below, in a few rounds.
    def newton(k: Tensor, by: Tensor, going: Tensor) -> State:
        kept = size > by
        left = ops.sum(ops.where(kept, size - by, 0.0), axis=axes, keepdims=True)
        count = ops.sum(ops.cast(kept, size.dtype), axis=axes, keepdims=True)
        going = left > eps * (1 + 1e-6)
        ahead = (left - eps) / ops.maximum(count, 1.0)
        return k + 1, ops.where(going, by + ahead, by), ops.any(going)

    zero = ops.zeros_like(length(delta, "linf"))
    _, by, _ = ops.while_loop(
        lambda k, by, going: (k < 50) & going,
        newton,
        (0, zero, ops.ones((), dtype="bool")),
    )
    return ops.sign(delta) * ops.maximum(size - by, 0.0)

"""Staying in the ball around an image, and starting at random inside it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.checks import State, Tensor, check_integer
from keras_gce.errors import InputError

__all__ = [
    "DUAL",
    "TensorSeed",
    "check_start",
    "interval",
    "largest",
    "length",
    "normalize",
    "over_mean",
    "project",
    "random_direction",
    "random_point",
    "random_radius",
    "rescale",
    "round_down",
    "sparse",
]

# Each norm, and that in which a gradient says how far it is to a plane.
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


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


def _same(delta: Tensor) -> Tensor:
    return delta


def interval(
    x: Tensor, eps: Tensor, bounds: tuple[Tensor, Tensor]
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
    x_adv: Tensor,
    x: Tensor,
    eps: Tensor,
    bounds: tuple[Tensor, Tensor],
    norm: str,
    units: Callable[[Tensor], Tensor] = _same,
    change: Callable[[Tensor], Tensor] = _same,
) -> Tensor:
    """Returns `x_adv` moved into the ball around `x`, and into the bounds.

    In l1 it is the nearest point of both; in l2 that of the ball, cut at the bounds.

    Args:
        x_adv: Images of shape `(N, ...)`.
        x: Those in the middle of the balls, within `bounds`.
        eps: Radius of the balls; or radii, of shape `(N, 1, ...)`.
        bounds: The least and the greatest value of a pixel.
        norm: `"l2"` or `"l1"`; for linf see `interval`.
        units: Function of a change: each feature's, over its own radius' share of eps.
            Defaults to what it is given: all have the same radius.
        change: Its inverse.
    """
    if norm == "l1":
        return _project_l1(x_adv, x, eps, bounds, units, change)
    delta = x_adv - x
    # The sum of the squares is rounded too; this is within 1e-6 all the same.
    away = ops.maximum(length(units(delta), "l2"), 1e-30)
    factor = ops.minimum(1.0, eps * (1 - 3e-7) / away)
    return ops.clip(x + delta * factor, *bounds)


def _project_l1(
    x_adv: Tensor,
    x: Tensor,
    eps: Tensor,
    bounds: tuple[Tensor, Tensor],
    units: Callable[[Tensor], Tensor],
    change: Callable[[Tensor], Tensor],
) -> Tensor:
    """Returns the nearest point of the l1 ball and the bounds.

    Each component moves towards `x` by the same amount, `by`, to `x` and to the bounds
    at most.

    Reference:
        Croce and Hein, "Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image
        Classifiers", ICML 2021 (arXiv 2103.01208), Proposition 2.1; here without
        sorting.
    """
    low, high = bounds
    delta = units(x_adv - x)
    size = ops.abs(delta)
    room = units(ops.relu(ops.where(delta > 0, high - x, x - low)))
    # The sums are rounded too; this is within 1e-6 all the same.
    aim, error = eps * (1 - 1e-6), eps * 5e-7

    def kept(by: Tensor) -> Tensor:
        return ops.minimum(ops.relu(size - by), room)

    # What is kept in all falls with `by`, along straight lines: Newton's steps reach
    # the right one in a few rounds, between what was too little and too much so far.
    def newton(k: Tensor, by: Tensor, least: Tensor, most: Tensor, _: Tensor) -> State:
        parts = kept(by)
        surplus = length(parts, "l1") - aim
        over = surplus > 0
        # Of `by` 0 less than the ball is right too.
        found = (ops.abs(surplus) <= error) | (~over & ops.equal(by, 0))
        least = ops.where(over, by, least)
        most = ops.where(over & ~found, most, by)
        moving = ops.cast((size > by) & (parts < room), size.dtype)
        ahead = by + surplus / ops.maximum(length(moving, "l1"), 1.0)
        # Where they go to and fro, halves of what is between end that.
        straight = (ahead > least) & (ahead < most) & ((k < 10) | (k % 2 > 0))
        ahead = ops.where(straight, ahead, (least + most) / 2)
        going = ops.any(~found)
        return k + 1, ops.where(found, by, ahead), least, most, going

    nothing = ops.zeros_like(length(delta, "linf"))
    by = ops.while_loop(
        lambda k, by, least, most, going: (k < 60) & going,
        newton,
        (0, nothing, nothing, length(delta, "linf"), ops.ones((), dtype="bool")),
    )[3]
    parts = change(kept(by))
    # Not rounded outwards, which adds up over many pixels.
    moved = ops.where(delta > 0, _add_not_above(x, parts), -_add_not_above(-x, parts))
    return ops.clip(ops.where(by > 0, moved, x_adv), low, high)


def normalize(gradient: Tensor, norm: str) -> Tensor:
    """Returns the steepest direction of length 1 in `norm`; 0 for a gradient of 0.

    In linf and l2; for l1 see `sparse`. The gradient is finite: sorting NaN out takes
    longer than all the rest.
    """
    if norm == "linf":
        return ops.sign(gradient)
    scaled = rescale(gradient)
    return scaled / ops.maximum(length(scaled, "l2"), 1e-30)


def sparse(gradient: Tensor, count: Tensor) -> Tensor:
    """Returns the direction of length 1 in l1 that changes few features, all alike.

    Args:
        gradient: Tensor of shape `(N, ...)`, finite.
        count: How many features, those with the greatest components, a tensor of shape
            `(N,)`; more of components of equal size, and at least one.
    """
    size = ops.abs(gradient)
    features = int(np.prod(size.shape[1:]))
    ordered = ops.sort(ops.reshape(size, (-1, features)), axis=1)
    place = ops.clip(ops.cast(features - count, "int32"), 0, features - 1)
    least = ops.take_along_axis(ordered, place[:, None], axis=1)
    least = ops.reshape(least, (-1,) + (1,) * (len(size.shape) - 1))
    chosen = ops.where(size >= least, ops.sign(gradient), 0.0)
    return chosen / ops.maximum(length(chosen, "l1"), 1.0)


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
    if norm == "l1":
        # Evenly over the faces of the ball: exponential numbers over their sum.
        size = -ops.log(1 - seed.uniform(ops.shape(x)))
        size = size / ops.maximum(length(size, "l1"), 1e-30)
        return ops.where(seed.uniform(ops.shape(x)) < 0.5, -size, size)
    noise = seed.uniform(ops.shape(x), -1.0, 1.0)
    axes = tuple(range(1, len(x.shape)))
    most = ops.max(ops.abs(noise), axis=axes, keepdims=True)
    return noise / ops.maximum(most, 1e-12)


def random_point(x: Tensor, eps: Tensor, norm: str, seed: TensorSeed) -> Tensor:
    """Returns points drawn uniformly from the balls around the images `x`."""
    shape = ops.shape(x)
    if norm == "linf":
        return x + seed.uniform(shape, -1.0, 1.0) * eps
    direction = random_direction(x, norm, seed)
    features = int(np.prod(x.shape[1:]))
    return x + direction * random_radius(x, features, seed) * eps


def random_radius(x: Tensor, features: Tensor, seed: TensorSeed) -> Tensor:
    """Returns distances of points drawn uniformly from balls of so many dimensions."""
    shape = ops.shape(x)
    return seed.uniform((shape[0],) + (1,) * (len(shape) - 1)) ** (1 / features)


def check_start(random_start: Any, restarts: Any) -> None:
    """Refuses what is no kind of start, and several that would be the same."""
    check_integer("restarts", restarts, least=1)
    if random_start not in (True, False, "normal"):
        raise InputError(
            '`random_start` must be True, False or "normal". '
            f"Received: random_start={random_start!r}"
        )
    if restarts > 1 and not random_start:
        raise InputError(
            "`restarts` must be 1 with random_start=False, since all would be the "
            f"same. Received: restarts={restarts}"
        )


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
        total = ops.abs(delta)
        # One axis after the other: a long sum is rounded more.
        for axis in reversed(axes):
            total = ops.sum(total, axis=axis, keepdims=True)
        return total
    return ops.sqrt(ops.sum(ops.square(delta), axis=axes, keepdims=True))

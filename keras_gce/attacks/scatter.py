"""Square's moves where there are no windows: some features, wherever they lie."""

import numpy as np
from keras import ops

from keras_gce.attacks.ball import TensorSeed, length, random_direction
from keras_gce.checks import Tensor

__all__ = ["move_features", "push_features", "push_of_all"]


def push_of_all(x: Tensor, draw: TensorSeed) -> Tensor:
    """Each feature at an edge of a ball of radius 1."""
    return ops.where(draw.uniform(ops.shape(x)) < 0.5, -1.0, 1.0)


def push_features(
    delta: Tensor, eps: Tensor, count: Tensor, draw: TensorSeed
) -> Tensor:
    """So many features at an edge of the ball, each at one of its own."""
    return ops.where(_some(delta, count, draw), eps * push_of_all(delta, draw), delta)


def move_features(
    delta: Tensor, eps: Tensor, norm: str, count: Tensor, draw: TensorSeed
) -> Tensor:
    """Moves the distance that some features hold into others, in a random direction."""
    inside, emptied = _some(delta, count, draw), _some(delta, count, draw)

    def of_length_1(values: Tensor) -> Tensor:
        return values / ops.maximum(length(values, norm), 1e-30)

    def within(mask: Tensor, values: Tensor) -> Tensor:
        return ops.where(mask, values, 0.0)

    fresh = of_length_1(within(inside, random_direction(delta, norm, draw)))
    new = of_length_1(fresh + of_length_1(within(inside, delta)))
    # With what the bounds have cut off; in l2 the caller goes back to the sphere.
    spare = ops.relu(eps - length(delta, norm))
    held = length(within(inside | emptied, delta), norm)
    return ops.where(inside, new * (spare + held), within(~emptied, delta))


def _some(x: Tensor, count: Tensor, draw: TensorSeed) -> Tensor:
    """Returns where so many random features of each example are."""
    numbers = draw.uniform((ops.shape(x)[0], int(np.prod(x.shape[1:]))))
    last = ops.take(ops.sort(numbers, axis=1), count - 1, axis=1)
    return ops.reshape(numbers <= last[:, None], ops.shape(x))

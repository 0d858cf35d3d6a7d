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
    """A step of so many features in a random direction, which may leave the ball.

    The more features, the longer: in l2 as long as a random direction of all features
    is in these. Moves as the windows', which empty some features into others, broke
    less of linear models, in l2 and in l1.
    """
    direction = random_direction(delta, norm, draw)
    direction = ops.where(_some(delta, count, draw), direction, 0.0)
    direction = direction / ops.maximum(length(direction, norm), 1e-30)
    share = ops.cast(count, "float32") / int(np.prod(delta.shape[1:]))
    return delta + eps * ops.sqrt(share) * direction


def _some(x: Tensor, count: Tensor, draw: TensorSeed) -> Tensor:
    """Returns where so many random features of each example are."""
    numbers = draw.uniform((ops.shape(x)[0], int(np.prod(x.shape[1:]))))
    last = ops.take(ops.sort(numbers, axis=1), count - 1, axis=1)
    return ops.reshape(numbers <= last[:, None], ops.shape(x))

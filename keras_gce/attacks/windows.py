"""Square's shapes: stripes, squares of a colour, pairs of pyramids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_gce.attacks.ball import TensorSeed
from keras_gce.checks import Tensor

__all__ = ["move_mass", "recolour", "stripes", "tiles"]

# Of a pyramid the k-th layer from its top on is 1 / k ** so much thick.
THINNER = {"l2": 2, "l1": 4}


def stripes(x: Tensor, draw: TensorSeed) -> Tensor:
    """Vertical stripes of random colours, of length 1."""
    n, (height, width, channels) = ops.shape(x)[0], x.shape[1:]
    return ops.tile(_signs((n, 1, width, channels), draw), (1, height, 1, 1))


def recolour(delta: Tensor, eps: Tensor, side: Tensor, draw: TensorSeed) -> Tensor:
    """A square of one random colour at the edge of the ball."""
    n, channels = ops.shape(delta)[0], delta.shape[-1]
    inside = _window(delta, side, draw)[0]
    return ops.where(inside, eps * _signs((n, 1, 1, channels), draw), delta)


def tiles(x: Tensor, norm: str, draw: TensorSeed) -> Tensor:
    """Tiles of a fifth of the height, each with a pair of pyramids, of length 1."""
    n, (height, width, channels) = ops.shape(x)[0], x.shape[1:]
    side = max(min(height, width) // 5, 1)
    across = np.arange(width, dtype="int32") - width % side // 2
    down = np.arange(height, dtype="int32") - height % side // 2
    rows, columns = height // side, width // side
    signs = _signs((n, rows, columns, channels), draw)
    turned = _signs((n, rows, columns, 1), draw) > 0

    def spread(values: Tensor) -> Tensor:
        # Each tile's value on all its pixels.
        values = ops.take(values, np.clip(down // side, 0, rows - 1), axis=1)
        return ops.take(values, np.clip(across // side, 0, columns - 1), axis=2)

    whole = ((down >= 0) & (down < rows * side))[:, None] & (
        (across >= 0) & (across < columns * side)
    )
    shape = _pyramids(
        (down % side)[None, :, None, None],
        (across % side)[None, None, :, None],
        side,
        spread(turned),
        max(height, width),
        norm,
    )
    return ops.where(whole[None, ..., None], shape * spread(signs), 0.0)


def move_mass(
    delta: Tensor, eps: Tensor, norm: str, side: Tensor, draw: TensorSeed
) -> Tensor:
    """Moves the distance that one window holds into another, as a pair of pyramids."""
    height, width, channels = delta.shape[1:]
    side = ops.maximum(side, 3)
    side = ops.minimum(side + 1 - side % 2, min(height, width))
    n = ops.shape(delta)[0]
    # Short of the last row and column, as the authors' code has it: mass that ends up
    # at an edge is mostly lost.
    inside, row, column = _window(delta, side, draw, short=1)
    emptied, _, _ = _window(delta, side, draw, short=1)
    signs = _signs((n, 1, 1, channels), draw)
    turned = _signs((n, 1, 1, 1), draw) > 0

    def mass(values: Tensor, axes: tuple[int, ...] = (1, 2)) -> Tensor:
        return ops.sum(_raised(values, norm), axis=axes, keepdims=True)

    def normalized(values: Tensor) -> Tensor:
        return values / (_root(mass(values), norm) + 1e-12)

    def within(mask: Tensor, values: Tensor) -> Tensor:
        return ops.where(mask, values, 0.0)

    shape = _pyramids(row, column, side, turned, max(height, width), norm)
    old = within(inside, delta)
    new = within(inside, shape * signs) + normalized(old)
    spare = ops.relu(_raised(eps, norm) - mass(delta, (1, 2, 3))) / channels
    held = mass(within(inside | emptied, delta))
    new = normalized(new) * _root(spare + held, norm)
    if norm == "l1":
        # The authors', for whom the projection takes back what is too much.
        new = new * channels
    return ops.where(inside, new, ops.where(emptied, 0.0, delta))


def _pyramids(
    row: Tensor, column: Tensor, side: Tensor, turned: Tensor, size: int, norm: str
) -> Tensor:
    """A pyramid in the upper half of a square and its negative in the lower half.

    Args:
        row: Integers: where in the square each pixel lies.
        column: Integers, as `row`.
        side: Side of the square.
        turned: Whether the halves lie side by side instead.
        size: Greatest side that there can be.
        norm: `"l2"` or `"l1"`.

    Returns:
        Values of length 1 over the square.
    """
    thick = 1 / np.arange(1.0, size + 3) ** THINNER[norm]
    layers = np.concatenate([[0], np.cumsum(thick)])
    layers = ops.convert_to_tensor(layers.astype("float32"))

    def at(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        upper = row < side // 2
        rows = ops.where(upper, side // 2, side - side // 2)
        row = ops.where(upper, row, row - side // 2)
        away = ops.maximum(ops.abs(row - rows // 2), ops.abs(column - side // 2))
        height = ops.take(layers, side // 2 + 1) - ops.take(
            layers, ops.clip(away, 0, size)
        )
        return upper, ops.relu(height)

    def total(part: Tensor, values: Tensor) -> Tensor:
        return _root(ops.sum(ops.where(part, _raised(values, norm), 0.0)) + 1e-12, norm)

    cells = ops.arange(size, dtype="int32")
    upper, heights = at(cells[:, None], cells)
    square = (cells[:, None] < side) & (cells < side)
    above, below = (total(square & half, heights) for half in (upper, ~upper))
    row, column = ops.where(turned, column, row), ops.where(turned, row, column)
    upper, heights = at(row, column)
    values = ops.where(upper, heights / above, -heights / below)
    # A square of one pixel has no upper half.
    return values / ops.where(side > 1, _root(2.0, norm), 1.0)


def _window(
    x: Tensor, side: Tensor, draw: TensorSeed, short: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Squares at random places: the pixels inside, and where in it each pixel lies.

    They end so many pixels `short` of the lower and right edges, if they can.
    """
    n, (height, width, _) = ops.shape(x)[0], x.shape[1:]

    def offset(size: int) -> Tensor:
        places = ops.cast(ops.maximum(size - side + 1 - short, 1), "float32")
        return ops.cast(draw.uniform((n, 1, 1, 1)) * places, "int32")

    row = ops.arange(height, dtype="int32")[None, :, None, None] - offset(height)
    column = ops.arange(width, dtype="int32")[None, None, :, None] - offset(width)
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return inside, row, column


def _signs(shape: Sequence[Any], draw: TensorSeed) -> Tensor:
    return ops.where(draw.uniform(shape) < 0.5, -1.0, 1.0)


def _raised(values: Tensor, norm: str) -> Tensor:
    """Returns what adds up, over the features, to the length's own power."""
    return ops.abs(values) if norm == "l1" else ops.square(values)


def _root(values: Tensor, norm: str) -> Tensor:
    return values if norm == "l1" else ops.sqrt(values)

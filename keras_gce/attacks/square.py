"""Square: a black-box attack by random search."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import TensorSeed, interval, normalize, project, round_down
from keras_gce.attacks.base import serializable
from keras_gce.attacks.batch import choose
from keras_gce.attacks.objectives import margin, succeeds
from keras_gce.attacks.queries import QueryAttack
from keras_gce.checks import State, Tensor, check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["Square"]

# After so many of a schedule's moves the squares halve their area, again and again.
SCHEDULE = 10_000
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Square(QueryAttack):
    """Square attack: changes random squares, and keeps what lowers the margin.

    It asks the model for logits and for no gradient, so that masked gradients do not
    stop it. An example ends at its first success.

    Example:

    >>> Square(eps=0.1).queries
    5000

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        queries: Most forward passes for an example, >= 1. Defaults to 5000.
        p_init: Share of the image that the first squares cover, in (0, 1]. Defaults to
            0.8.
        rescale_schedule: Whether the squares shrink over `queries`, however many there
            are. `False`: over 10,000 queries, as in AutoAttack; with fewer they stay
            larger, which in linf breaks less and in l2 more. Defaults to `True`.

    Raises:
        InputError: If an argument is not as described, or the images are not of shape
            `(N, H, W, C)`, or `(N, C, H, W)` where the model's layers have
            `data_format="channels_first"`.

    Reference:
        Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial
        attack via random search", ECCV 2020 (arXiv 1912.00049), Algorithms 1 to 3;
        p_init and the margin loss as in AutoAttack (arXiv 2003.01690).
    """

    queries: int = 5000
    p_init: float = 0.8
    rescale_schedule: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("queries", self.queries, least=1)
        check_number("p_init", self.p_init, least=0)
        if not 0 < self.p_init <= 1:
            raise InputError(
                f"`p_init` must lie in (0, 1]. Received: p_init={self.p_init}"
            )
        if not isinstance(self.rescale_schedule, bool):
            raise InputError(
                "`rescale_schedule` must be True or False. "
                f"Received: rescale_schedule={self.rescale_schedule!r}"
            )

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses what has no height and width."""
        super().check(classifier, x, y)
        if x.ndim != 4:
            raise InputError(
                "`x` must be images of shape (N, H, W, C) for Square, which changes "
                f"windows of them. Received: x.shape={x.shape}"
            )

    def counted(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Perturbs checked images; an example ends at success in any case."""
        channels_first = classifier.data_format == "channels_first"
        return self.compiled(
            classifier,
            functools.partial(_search, self, channels_first),
            batch=(x, y),
            settings={
                "eps": round_down(self.reach),
                "queries": np.int32(self.queries),
                "p_init": np.float32(self.p_init),
                # How far a move is on the schedule's way.
                "pace": np.float32(
                    SCHEDULE / self.queries if self.rescale_schedule else 1
                ),
                "seed": self.draw_seed(seed),
            },
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns how many forward passes it makes for an image."""
        return float(self.queries)


def _search(
    attack: Square,
    channels_first: bool,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eps: Tensor,
    queries: Tensor,
    p_init: Tensor,
    pace: Tensor,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    if channels_first:
        x = ops.moveaxis(x, 1, -1)

    def logits(x: Tensor) -> Tensor:
        return classifier.logits(ops.moveaxis(x, -1, 1) if channels_first else x)

    sign = -1.0 if attack.targeted else 1.0
    linf = attack.norm == "linf"
    start, move = (_stripes, _recolour) if linf else (_tiles, _move_mass)

    def keep(x_adv: Tensor, x: Tensor) -> Tensor:
        if linf:
            return ops.clip(x_adv, *interval(x, eps, attack.bounds))
        # On the sphere, as far as the bounds allow.
        delta = eps * normalize(x_adv - x, "l2")
        return project(x + delta, x, eps, attack.bounds)

    def side(i: Tensor) -> Tensor:
        return _side(ops.cast(i, "float32") * pace, p_init, *x.shape[1:3])

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        best, used, best_lead, x, y = state
        moved = ops.cond(
            ops.equal(i, 0),
            lambda: start(x, eps, TensorSeed(seed, i)),
            lambda: move(best, x, eps, side(i - 1), TensorSeed(seed, i)),
        )
        moved = keep(moved, x)
        z = logits(moved)
        lead = sign * margin(y, z)
        success = succeeds(y, z, attack.targeted)
        better = ops.equal(i, 0) | success | (lead > best_lead)
        best = choose(better, moved, best)
        best_lead = ops.where(better, lead, best_lead)
        return (best, used + 1, best_lead, x, y), success

    used, lead = ops.zeros_like(y, dtype="int32"), ops.zeros_like(y, dtype="float32")
    state = x, used, lead, x, y
    best, used = backend.while_active(step, state, queries, num_results=2)
    return ops.moveaxis(best, -1, 1) if channels_first else best, used


def _side(done: Tensor, p_init: Tensor, height: int, width: int) -> Tensor:
    """The side of the squares after so many of the schedule's moves."""
    halvings = ops.sum(
        ops.cast(done > ops.convert_to_tensor(HALVINGS, "float32"), "float32")
    )
    side = ops.round(ops.sqrt(p_init / 2**halvings * height * width))
    return ops.clip(ops.cast(side, "int32"), 1, min(height, width))


def _stripes(x: Tensor, eps: Tensor, draw: TensorSeed) -> Tensor:
    """Vertical stripes of random colours."""
    n, (_, width, channels) = ops.shape(x)[0], x.shape[1:]
    return x + eps * _signs((n, 1, width, channels), draw)


def _recolour(
    best: Tensor, x: Tensor, eps: Tensor, side: Tensor, draw: TensorSeed
) -> Tensor:
    """A square of one random colour at the edge of the ball."""
    n, channels = ops.shape(x)[0], x.shape[-1]
    inside = _window(x, side, draw)[0]
    return ops.where(inside, x + eps * _signs((n, 1, 1, channels), draw), best)


def _tiles(x: Tensor, eps: Tensor, draw: TensorSeed) -> Tensor:
    """Tiles of a fifth of the height, each with a pair of pyramids."""
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
    )
    return x + ops.where(whole[None, ..., None], shape * spread(signs), 0.0)


def _move_mass(
    best: Tensor, x: Tensor, eps: Tensor, side: Tensor, draw: TensorSeed
) -> Tensor:
    """Moves the distance that one window holds into another, as a pair of pyramids."""
    height, width, channels = x.shape[1:]
    side = ops.maximum(side, 3)
    side = ops.minimum(side + 1 - side % 2, min(height, width))
    n, delta = ops.shape(x)[0], best - x
    # Short of the last row and column, as the authors' code has it: mass that ends up
    # at an edge is mostly lost.
    inside, row, column = _window(x, side, draw, short=1)
    emptied, _, _ = _window(x, side, draw, short=1)
    signs = _signs((n, 1, 1, channels), draw)
    turned = _signs((n, 1, 1, 1), draw) > 0

    def length(values: Tensor, axes: tuple[int, ...] = (1, 2)) -> Tensor:
        return ops.sqrt(ops.sum(ops.square(values), axis=axes, keepdims=True))

    def within(mask: Tensor, values: Tensor) -> Tensor:
        return ops.where(mask, values, 0.0)

    shape = _pyramids(row, column, side, turned, max(height, width))
    old = within(inside, delta)
    new = within(inside, shape * signs) + old / (length(old) + 1e-12)
    spare = ops.relu(eps**2 - length(delta, (1, 2, 3)) ** 2) / channels
    held = length(within(inside | emptied, delta)) ** 2
    new = new / (length(new) + 1e-12) * ops.sqrt(spare + held)
    return x + ops.where(inside, new, ops.where(emptied, 0.0, delta))


def _pyramids(
    row: Tensor, column: Tensor, side: Tensor, turned: Tensor, size: int
) -> Tensor:
    """A pyramid in the upper half of a square and its negative in the lower half.

    Args:
        row: Integers: where in the square each pixel lies.
        column: Integers, as `row`.
        side: Side of the square.
        turned: Whether the halves lie side by side instead.
        size: Greatest side that there can be.

    Returns:
        Values whose squares add up to 1 over the square.
    """
    # A pyramid's k-th layer, from its top on, is 1 / k^2 thick.
    layers = np.concatenate([[0], np.cumsum(1 / np.arange(1, size + 3) ** 2)])
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
        return ops.sqrt(ops.sum(ops.where(part, ops.square(values), 0.0)) + 1e-12)

    cells = ops.arange(size, dtype="int32")
    upper, heights = at(cells[:, None], cells)
    square = (cells[:, None] < side) & (cells < side)
    above, below = (total(square & half, heights) for half in (upper, ~upper))
    row, column = ops.where(turned, column, row), ops.where(turned, row, column)
    upper, heights = at(row, column)
    values = ops.where(upper, heights / above, -heights / below)
    # A square of one pixel has no upper half.
    return values / ops.where(side > 1, np.sqrt(2).astype("float32"), 1.0)


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

"""Square: a black-box attack by random search."""

import dataclasses
import functools

import numpy as np
from keras import ops

from keras_gce import backend, names
from keras_gce.attacks.ball import (
    TensorSeed,
    normalize,
    random_direction,
    round_down,
)
from keras_gce.attacks.batch import choose
from keras_gce.attacks.objectives import margin, succeeds
from keras_gce.attacks.queries import QueryAttack
from keras_gce.attacks.scatter import move_features, push_features, push_of_all
from keras_gce.attacks.serializable import serializable
from keras_gce.attacks.windows import move_mass, recolour, stripes, tiles
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

    Images are of shape `(N, H, W, C)`, or `(N, C, H, W)` where the model's layers have
    `data_format="channels_first"`. In others, such as vectors, as many random features
    change as a square would hold, each by itself.

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
        InputError: If an argument is not as described.

    Reference:
        Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial
        attack via random search", ECCV 2020 (arXiv 1912.00049), Algorithms 1 to 3;
        p_init and the margin loss as in AutoAttack (arXiv 2003.01690); in l1 as in
        Croce and Hein, "Mind the Box", ICML 2021 (arXiv 2103.01208).
    """

    queries: int = 5000
    p_init: float = 0.8
    rescale_schedule: bool = True

    norms = names.NORMS

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
    windows = len(x.shape) == 4
    channels_first = channels_first and windows
    sign = -1.0 if attack.targeted else 1.0
    norm, geometry = attack.norm, attack.geometry

    # Windows know channels behind alone.
    def behind(x: Tensor) -> Tensor:
        return ops.moveaxis(x, 1, -1) if channels_first else x

    def back(x: Tensor) -> Tensor:
        return ops.moveaxis(x, -1, 1) if channels_first else x

    def start(x: Tensor, draw: TensorSeed) -> Tensor:
        if norm == "linf":
            return eps * (stripes if windows else push_of_all)(behind(x), draw)
        shapes = tiles if windows else random_direction
        return geometry.span * shapes(behind(x), norm, draw)

    def move(best: Tensor, x: Tensor, size: Tensor, draw: TensorSeed) -> Tensor:
        delta = behind(geometry.units(best - x))
        if norm == "linf":
            return (recolour if windows else push_features)(delta, eps, size, draw)
        shift = move_mass if windows else move_features
        return shift(delta, eps, norm, size, draw)

    def keep(delta: Tensor, x: Tensor) -> Tensor:
        delta = geometry.free(back(delta))
        if norm == "l2":
            # On the sphere, as far as the bounds allow.
            delta = eps * normalize(delta, "l2")
        return geometry.keep(x + geometry.change(delta), x, eps)

    def size(i: Tensor) -> Tensor:
        done = ops.cast(i, "float32") * pace
        if windows:
            sides = x.shape[2:] if channels_first else x.shape[1:3]
            return _side(done, p_init, *sides)
        return _count(done, p_init, int(np.prod(x.shape[1:])))

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        best, used, best_lead, x, y = state
        moved = ops.cond(
            ops.equal(i, 0),
            lambda: start(x, TensorSeed(seed, i)),
            lambda: move(best, x, size(i - 1), TensorSeed(seed, i)),
        )
        moved = keep(moved, x)
        z = classifier.logits(moved)
        lead = sign * margin(y, z)
        success = succeeds(y, z, attack.targeted)
        better = ops.equal(i, 0) | success | (lead > best_lead)
        best = choose(better, moved, best)
        best_lead = ops.where(better, lead, best_lead)
        return (best, used + 1, best_lead, x, y), success

    used, lead = ops.zeros_like(y, dtype="int32"), ops.zeros_like(y, dtype="float32")
    state = x, used, lead, x, y
    best, used = backend.while_active(step, state, queries, num_results=2)
    return best, used


def _side(done: Tensor, p_init: Tensor, height: int, width: int) -> Tensor:
    """The side of the squares after so many of the schedule's moves."""
    side = ops.round(ops.sqrt(_share(done, p_init) * height * width))
    return ops.clip(ops.cast(side, "int32"), 1, min(height, width))


def _count(done: Tensor, p_init: Tensor, features: int) -> Tensor:
    """How many features change where there are no squares."""
    count = ops.round(_share(done, p_init) * features)
    return ops.clip(ops.cast(count, "int32"), 1, features)


def _share(done: Tensor, p_init: Tensor) -> Tensor:
    """The share of the features that change after so many of the schedule's moves."""
    halvings = ops.sum(
        ops.cast(done > ops.convert_to_tensor(HALVINGS, "float32"), "float32")
    )
    return p_init / 2**halvings

"""HopSkipJump: breaks models that say a class and nothing else."""

import dataclasses
import functools

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import TensorSeed, round_down
from keras_gce.attacks.batch import choose
from keras_gce.attacks.boundary import Ball, Walk, learn, query
from keras_gce.attacks.queries import QueryAttack
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["HopSkipJump"]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class HopSkipJump(QueryAttack):
    """HopSkipJump: breaks models that say a class and nothing else.

    It sees the class that the model gives, no logits and no gradient. From a random
    image of another class it goes back to the boundary by bisection, estimates how the
    boundary lies from the classes of random points beside it, steps away from it and
    goes back again, each time nearer to the image. A bisection begins at the edge of
    the ball. An example is returned as it was where the nearest success lies outside
    the ball, or no random image had another class.

    Example:

    >>> HopSkipJump(eps=0.1).queries
    5000

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        queries: Most forward passes for an example, >= 1. Defaults to 5000.
        probes: Number of random points of the first estimate, >= 1; the t-th takes
            sqrt(t) times as many. Defaults to 100.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Chen, Jordan and Wainwright, "HopSkipJumpAttack: A Query-Efficient
        Decision-Based Attack", IEEE S&P 2020 (arXiv 1904.02144), Algorithms 1 and 2.
        Probes lie at 1% of the distance, as in ART, and the bisection is as fine as
        that asks for; the paper's 1/d of it, for d features, is less than float32 can
        tell where there are many. Random images after the first lie between two random
        greys.
    """

    queries: int = 5000
    probes: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("queries", self.queries, least=1)
        check_integer("probes", self.probes, least=1)
        if self.targeted:
            raise InputError(
                "`targeted` must be False: HopSkipJump starts from random images, "
                "hardly ever of a given class. Received: targeted=True"
            )

    def counted(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Perturbs checked images, and counts the queries of each."""
        return self.compiled(
            classifier,
            functools.partial(self._walk, stop_early),
            batch=(x, y),
            settings={
                "eps": round_down(self.reach),
                "queries": np.int32(self.queries),
                "probes": np.float32(self.probes),
                "seed": self.draw_seed(seed),
            },
            key=stop_early,
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns how many forward passes it makes for an image."""
        return float(self.queries)

    def _walk(
        self,
        stop_early: bool,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        eps: Tensor,
        queries: Tensor,
        probes: Tensor,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ball = Ball(self.geometry, eps)

        def step(i: Tensor, state: State) -> tuple[State, Tensor]:
            walk = Walk(*state)
            point = ball.keep(query(walk, ball, i, TensorSeed(seed, i)), walk.x)
            fools = _fools(classifier, point, walk.y)
            away = ball.length(point - walk.x)
            better = fools & (away <= ball.most) & (away < walk.least)
            left = ops.cast(queries - i - 1, "float32")
            walk = learn(walk, ball, point, fools, away, probes, left)._replace(
                best=choose(better, point, walk.best),
                least=ops.where(better, away, walk.least),
                used=walk.used + 1,
            )
            return tuple(walk), better if stop_early else ops.zeros_like(better)

        state = tuple(Walk.begin(x, y))
        best, used = backend.while_active(step, state, queries, num_results=2)
        return best, used


def _fools(classifier: Classifier, point: Tensor, y: Tensor) -> Tensor:
    """Where the class is wrong, which is all that is seen of an answer."""
    z = classifier.logits(point)
    right = ops.equal(ops.cast(ops.argmax(z, axis=-1), y.dtype), y)
    # Logits that are not finite are no answer, and never right.
    return ~(right & ops.all(ops.isfinite(z), axis=-1))

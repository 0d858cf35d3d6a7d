"""FMN: the least distance that breaks each example."""

import dataclasses
import functools
import math

import numpy as np
from keras import ops

from keras_gce import backend, names
from keras_gce.attacks.averaging import averaged
from keras_gce.attacks.ball import largest, length, normalize
from keras_gce.attacks.batch import by_example, choose
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.objectives import (
    gradient_of,
    likeliest_wrong,
    margin,
    of_class,
    rounding,
    succeeds,
)
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer
from keras_gce.classifier import Classifier

__all__ = ["FMN"]

# The authors': the share of the range that the first and the last step go, in l2, and
# by how much of itself a radius changes at the first and at the last one.
STEP = (1.0, 0.01)
CHANGE = (0.05, 0.001)
# Classes of which the nearest one is looked for, the likeliest ones.
MOST = 9


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class FMN(EOTAttack):
    """Fast minimum-norm attack: looks for the least distance that breaks each example.

    Each step ascends the margin, of length 1 of the bounds' range at first and 0.01 at
    last, and goes back into a ball of the example's own. Until the first success its
    radius is the distance at which the margin, taken as flat, is 0; from then on it
    shrinks by a share of itself after a success and grows by it after a failure.
    An example that no step broke is returned as it was.

    The margin leads to the likeliest wrong class, whose boundary may not be the
    nearest. So there is a second search, which the paper has not: where another one's
    of the nine likeliest is nearest, taken as flat at the image, as many steps go
    towards that class.

    Example:

    >>> FMN(norm="l1", steps=1000).eps is None
    True

    Args:
        norm: `"linf"`, `"l2"` or `"l1"`: in which distance is measured. Defaults to
            `"linf"`. For the settings not listed here see `Attack`.
        steps: Number of steps of a search, >= 1. Defaults to 100.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Pintor et al., "Fast Minimum-Norm Adversarial Attacks through Adaptive Norm
        Constraints", NeurIPS 2021 (arXiv 2102.12827), Algorithm 1.
    """

    norm: str = "linf"
    steps: int = 100

    norms = names.NORMS
    ends_at_success = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("steps", self.steps, least=1)

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images; the least distance is looked for in any case."""
        looks = self._looks(classifier.num_classes)
        return self.compiled(
            classifier,
            functools.partial(_search, self, looks),
            batch=(x, y),
            settings={"steps": np.int32(self.steps), **self.sampled},
            key=(looks, bool(self.sampled)),
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        looks = self._looks(num_classes)
        steps = looks + 2 * self.steps if looks else self.steps
        return self.gradient_passes * steps

    def _looks(self, num_classes: int) -> int:
        """Returns how many classes are looked at; of one there is no choice."""
        return 0 if self.targeted or num_classes == 2 else min(MOST, num_classes - 1)


def _search(
    attack: FMN,
    looks: int,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    steps: Tensor,
    eot_samples: Tensor | None = None,
) -> Tensor:
    geometry, norm, targeted = attack.geometry, attack.norm, attack.targeted
    low, high = geometry.bounds

    def to_boundary(gradient: Tensor, lead: Tensor, y: Tensor, z: Tensor) -> Tensor:
        # To a lead that counts: at one of 0 rounding would decide.
        missing = ops.abs(lead) + 2 * rounding(y, z)
        # The squares of a tiny gradient vanish.
        size = largest(gradient)
        steepness = ops.maximum(geometry.steepness(gradient / size), 1e-30)
        return ops.nan_to_num(by_example(missing, gradient) / size / steepness)

    def into_ball(moved: Tensor, x: Tensor, eps: Tensor) -> Tensor:
        # Into the bounds first: what lies outside would use up the ball.
        moved = ops.clip(moved, low, high)
        if norm == "linf":
            return ops.clip(moved, x - eps, x + eps)
        return geometry.keep(moved, x, eps)

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        best, least, now, eps, nearest, chosen, x, y, wrong = state
        # A look at each class, a search towards any, a search towards one.
        looking, towards_one = i < looks, i >= looks + steps
        now = ops.where(ops.equal(i, looks + steps), x, now)
        target = chosen
        if looks:
            seen = ops.take(wrong, ops.minimum(i, looks - 1), axis=1)
            target = ops.where(looking, seen, chosen)

        def values(images: Tensor) -> tuple[Tensor, Tensor]:
            z = classifier.logits(images)
            if targeted:
                return -margin(y, z), z
            of_target = of_class(target, z) - of_class(y, z)
            return ops.where(looking | towards_one, of_target, margin(y, z)), z

        gradient, lead, z = gradient_of(
            classifier, values, now, geometry.bounds, eot_samples
        )
        gradient = ops.nan_to_num(gradient)
        flat = to_boundary(gradient, lead, y, z)
        away = length(now - x, norm)
        won = succeeds(y, z, targeted)
        better = by_example(won, x) & (away < least)
        best = ops.where(better, now, best)
        least = ops.where(better, away, least)
        nearer = looking & (flat < nearest)
        nearest = ops.where(nearer, flat, nearest)
        chosen = ops.where(ops.reshape(nearer, (-1,)), target, chosen)

        left = _cosine((i - looks) % steps, steps)
        change = CHANGE[1] + (CHANGE[0] - CHANGE[1]) * left
        wider = ops.where(least < np.inf, eps * (1 + change), away + flat)
        eps = choose(won, ops.minimum(eps * (1 - change), least), wider)
        # No image within the bounds is further.
        eps = ops.minimum(eps, length(ops.maximum(x - low, high - x), norm))

        stride = geometry.range * (STEP[1] + (STEP[0] - STEP[1]) * left)
        moved = into_ball(now + stride * normalize(gradient, "l2"), x, eps)
        now = ops.where(looking, now, moved)
        # Nearer than the image itself there is nothing; and towards the likeliest
        # class the first search went already.
        once = ops.equal(i, looks + steps - 1) & ops.equal(chosen, wrong[:, 0])
        done = once | ops.reshape(ops.equal(least, 0.0), (-1,))
        return (best, least, now, eps, nearest, chosen, x, y, wrong), done

    wrong = ops.zeros_like(y)[:, None]
    if looks:
        z = averaged(lambda: classifier.logits(x), eot_samples)
        wrong = likeliest_wrong(y, z, looks)
    nowhere = length(ops.zeros_like(x), norm)
    state = (x, nowhere + np.inf, x, nowhere, nowhere + np.inf, wrong[:, 0])
    rounds = looks + 2 * steps if looks else steps
    return backend.while_active(step, (*state, x, y, wrong), rounds)[0]


def _cosine(i: Tensor, steps: Tensor) -> Tensor:
    """Returns what falls from 1 to 0 over the steps, as half a wave of the cosine."""
    share = ops.cast(i, "float32") / ops.cast(steps, "float32")
    return (1 + ops.cos(math.pi * share)) / 2

"""FAB: walks along the decision boundary to its nearest point."""

import dataclasses
import functools

import numpy as np
from keras import ops

from keras_gce import backend, names
from keras_gce.attacks.averaging import averaged
from keras_gce.attacks.ball import TensorSeed, largest, round_down
from keras_gce.attacks.batch import by_example, choose
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.geometry import Geometry
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.attacks.objectives import (
    gradient_of,
    likeliest_wrong,
    of_class,
    rounding,
    succeeds,
)
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["FAB"]

# The authors' greatest share of the clean image's projection, their overshoot, and
# how much of the way remains after a step back.
BIAS, OVERSHOOT, STEP_BACK = 0.1, 1.05, 0.9


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class FAB(EOTAttack, BallAttack):
    """Fast adaptive boundary attack: looks for the least distorted success.

    Each step takes the boundary between two classes as flat, moves to it by the
    shortest way within the bounds, drawn towards the clean image, and steps back from
    every success. An example whose least distorted success lies outside the ball is
    returned as it was.

    Example:

    >>> FAB(eps=0.1).name, FAB(eps=0.1, num_targets=None).name
    ('FAB-T', 'FAB')

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        steps: Number of steps from each start, >= 1. Defaults to 100.
        restarts: Number of starts, >= 1: the clean image, then random points within
            eps / 2. Defaults to 1.
        num_targets: Number of wrong classes, >= 1, whose boundaries are walked along
            one after the other, the likeliest first; all where there are fewer. `None`:
            at each step that of the nearest class, for which a step takes a gradient
            of each class. Defaults to 9.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Croce and Hein, "Minimally Distorted Adversarial Examples with a Fast Adaptive
        Boundary Attack", ICML 2020 (arXiv 1907.02044), Algorithm 1; targeted as in
        AutoAttack (arXiv 2003.01690).
    """

    steps: int = 100
    restarts: int = 1
    num_targets: int | None = 9

    norms = names.NORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("steps", self.steps, least=1)
        check_integer("restarts", self.restarts, least=1)
        if self.num_targets is not None:
            check_integer("num_targets", self.num_targets, least=1)
        if self.targeted:
            raise InputError(
                "`targeted` must be False: FAB chooses its targets itself. "
                "Received: targeted=True"
            )

    @property
    def name(self) -> str:
        """The attack's name in reports."""
        return "FAB" if self.num_targets is None else "FAB-T"

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images."""
        targets = min(self.num_targets or 0, classifier.num_classes - 1)
        return self.compiled(
            classifier,
            functools.partial(_walk, self, targets, stop_early),
            batch=(x, y),
            settings={
                "eps": round_down(self.reach),
                "steps": np.int32(self.steps),
                "restarts": np.int32(self.restarts),
                "seed": self.draw_seed(seed),
                **self.sampled,
            },
            key=(targets, bool(self.sampled), stop_early),
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        gradients = num_classes
        if self.num_targets is not None:
            gradients = min(self.num_targets, num_classes - 1)
        return self.gradient_passes * self.steps * self.restarts * gradients


def _walk(
    attack: FAB,
    targets: int,
    stop_early: bool,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eps: Tensor,
    steps: Tensor,
    restarts: Tensor,
    seed: Tensor,
    eot_samples: Tensor | None = None,
) -> Tensor:
    logits = classifier.logits
    axes = tuple(range(1, len(x.shape)))
    geometry = attack.geometry
    low, high = geometry.bounds

    def random_start(x: Tensor, start: Tensor) -> Tensor:
        noise = geometry.random_direction(x, TensorSeed(seed, start))
        return ops.clip(x + eps / 2 * noise, low, high)

    def boundary(now: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Returns by how much a wrong class leads clearly, and the gradient of that.

        Aimed at a lead of 0 the walk would end where rounding decides.
        """
        if targets:

            def lead(v: Tensor) -> tuple[Tensor, Tensor]:
                z = logits(v)
                return of_class(target, z) - of_class(y, z), z

            gradient, value, z = gradient_of(
                classifier, lead, now, geometry.bounds, eot_samples
            )
            return value - 2 * rounding(y, z), gradient

        def leads(v: Tensor) -> tuple[State, Tensor]:
            z = logits(v)
            true = of_class(y, z)
            return tuple(z[:, k] - true for k in range(z.shape[-1])), z

        gradients, values, z = gradient_of(
            classifier, leads, now, geometry.bounds, eot_samples
        )
        nearest = None
        for k, (gradient, value) in enumerate(zip(gradients, values, strict=True)):
            size = largest(gradient)
            steepness = ops.reshape(geometry.steepness(gradient / size), (-1,))
            far = ops.abs(value) / ops.reshape(size, (-1,)) / (steepness + 1e-12)
            far = ops.where(ops.equal(y, k), np.inf, far)
            if nearest is None:
                nearest, chosen, steepest = far, value, gradient
                continue
            nearer = far < nearest
            nearest = ops.where(nearer, far, nearest)
            chosen = ops.where(nearer, value, chosen)
            steepest = choose(nearer, gradient, steepest)
        return chosen - 2 * rounding(y, z), steepest

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        best, least, now, x, y, wrong = state
        start = i // steps
        now = ops.cond(
            ops.equal(i % steps, 0),
            lambda: ops.cond(
                ops.equal(start % restarts, 0),
                lambda: x,
                lambda: random_start(x, start),
            ),
            lambda: now,
        )
        target = ops.take(wrong, start // restarts, axis=1) if targets else None
        value, gradient = boundary(now, y, target)
        gradient, value = ops.nan_to_num(gradient), ops.nan_to_num(value)
        # What the flat boundary asks of each point: gradient . d = missing.
        missing = -by_example(value, x)
        from_x = missing - ops.sum(gradient * (x - now), axis=axes, keepdims=True)
        moves = _to_plane(
            ops.concatenate([now, x]),
            ops.concatenate([gradient, gradient]),
            ops.concatenate([missing, from_x]),
            geometry,
        )
        there, there_from_x = ops.split(moves, 2)
        near, far = (
            ops.maximum(geometry.length(d), 1e-8) for d in (there, there_from_x)
        )
        bias = ops.minimum(near / (near + far), BIAS)
        now = (now + OVERSHOOT * there) * (1 - bias)
        now = ops.clip(now + (x + OVERSHOOT * there_from_x) * bias, low, high)
        now = geometry.pinned(now, x)

        z = averaged(lambda: logits(now), eot_samples)
        won = succeeds(y, z)
        away = ops.reshape(geometry.length(now - x), (-1,))
        better = won & (away < least)
        best = choose(better, now, best)
        least = ops.where(better, away, least)
        now = choose(won, x + STEP_BACK * (now - x), now)
        done = least <= eps if stop_early else ops.zeros_like(won)
        return (best, least, now, x, y, wrong), done

    wrong = ops.zeros_like(y)[:, None]
    if targets:
        z = averaged(lambda: logits(x), eot_samples)
        wrong = likeliest_wrong(y, z, targets)
    least = ops.zeros_like(y, dtype="float32") + np.inf
    best, least = backend.while_active(
        step,
        (x, least, x, x, y, wrong),
        steps * restarts * max(targets, 1),
        num_results=2,
    )
    return geometry.keep(choose(least <= eps, best, x), x, eps)


def _to_plane(x: Tensor, w: Tensor, missing: Tensor, geometry: Geometry) -> Tensor:
    """Returns the shortest d with w . d = missing and x + d within the bounds.

    Where no point within the bounds reaches the plane, d goes as far as it can.

    Args:
        x: Images of shape `(N, ...)`.
        w: Of the same shape.
        missing: Of shape `(N, 1, ...)`.
        geometry: What d is measured in, and the bounds of x + d.

    Reference:
        Croce and Hein 2020 (arXiv 1907.02044), Eq. 6, and section 2.3.
    """
    scale = largest(w)
    w, missing = w / scale, missing / scale
    up = ops.equal(w > 0, missing > 0)
    # In units of the features' radii all that follows is as if they were the same.
    room = geometry.units(ops.where(up, geometry.high - x, x - geometry.low))
    w, needed = geometry.change(ops.abs(w)), ops.abs(missing)
    size = geometry.change(_nearest(w, needed, room, geometry.norm))
    return ops.where(up, size, -size)


def _nearest(w: Tensor, needed: Tensor, room: Tensor, norm: str) -> Tensor:
    """The least d >= 0 with w . d = needed, all of them >= 0, and d <= room."""
    if norm == "l1":
        return _steepest_first(w, needed, room)
    axes = tuple(range(1, len(w.shape)))
    # d = min(s * rate, room) in size, for the s at which w . d, concave and piecewise
    # linear in s, is what is needed: Newton's steps reach it from below.
    rate = ops.cast(w > 0, w.dtype) if norm == "linf" else w
    gain = w * rate

    def newton(k: Tensor, s: Tensor, going: Tensor) -> State:
        size = s * rate
        free = size < room
        reached = ops.sum(w * ops.minimum(size, room), axis=axes, keepdims=True)
        slope = ops.sum(ops.where(free, gain, 0.0), axis=axes, keepdims=True)
        lacking = needed - reached
        going = lacking > 1e-6 * needed
        ahead = ops.where(slope > 0, lacking / ops.where(slope > 0, slope, 1.0), 1e6)
        return k + 1, ops.where(going, s + ahead, s), ops.any(going)

    zero = ops.zeros_like(needed)
    _, s, _ = ops.while_loop(
        lambda k, s, going: (k < 50) & going,
        newton,
        (0, zero, ops.ones((), dtype="bool")),
    )
    return ops.minimum(s * rate, room)


def _steepest_first(w: Tensor, needed: Tensor, room: Tensor) -> Tensor:
    """The size of the shortest d in l1: all the room of what leads there soonest."""
    flat = (-1, int(np.prod(w.shape[1:])))
    slopes, rooms = ops.reshape(w, flat), ops.reshape(room, flat)
    order = ops.argsort(-slopes, axis=1)
    slopes, rooms = (
        ops.take_along_axis(values, order, axis=1) for values in (slopes, rooms)
    )
    reached = ops.cumsum(slopes * rooms, axis=1)
    before = ops.concatenate([ops.zeros_like(reached[:, :1]), reached[:, :-1]], axis=1)
    lacking = ops.relu(ops.reshape(needed, (-1, 1)) - before)
    size = ops.minimum(lacking / ops.maximum(slopes, 1e-30), rooms)
    size = ops.where(slopes > 0, size, 0.0)
    back = ops.argsort(order, axis=1)
    return ops.reshape(ops.take_along_axis(size, back, axis=1), ops.shape(w))

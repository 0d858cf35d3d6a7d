"""The steps of Auto-PGD in linf and l2."""

from collections.abc import Callable

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import TensorSeed
from keras_gce.attacks.batch import by_example, choose
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.attacks.objectives import off_the_spot, succeeds
from keras_gce.checks import State, Tensor

__all__ = ["ascend", "schedule"]

MOMENTUM = 0.75
# The least share of the steps since the last look that has to go up.
RISING = 0.75


def schedule(steps: int) -> dict[str, int]:
    """Returns when `ascend` looks: the authors' 22%, 6% and 3% of the steps."""
    return {
        "first_look": max(int(0.22 * steps), 1),
        "least_look": max(int(0.06 * steps), 1),
        "sooner": max(int(0.03 * steps), 1),
    }


def ascend(
    attack: BallAttack,
    gradient_at: Callable[..., State],
    stop_early: bool,
    goes_on: bool,
    x: Tensor,
    y: Tensor,
    wrong: Tensor,
    eps: Tensor,
    steps: Tensor,
    restarts: Tensor,
    first_look: Tensor,
    least_look: Tensor,
    sooner: Tensor,
    seed: Tensor,
) -> Tensor:
    """Returns of each image the first success, or else the point of greatest loss.

    Args:
        attack: The attack, for its ball and whether it is targeted.
        gradient_at: Function of images, labels and targets: the gradient of what is
            ascended, its values of shape `(N,)`, and the logits.
        stop_early: Whether an example ends at its first success.
        goes_on: Whether, of several successes, that of the greatest loss is returned.
        x: Images of shape `(N, ...)`.
        y: Their classes, or targets, of shape `(N,)`.
        wrong: Classes towards which to go one after the other, of shape `(N, T)`.
        eps: Radius of the ball.
        steps: Number of steps of a start.
        restarts: Number of starts for each class.
        first_look: Steps before the first look.
        least_look: Least number of steps between looks.
        sooner: By how many steps each look comes sooner than that before it.
        seed: Integers of shape `(2,)`.

    Reference:
        Croce and Hein 2020 (arXiv 2003.01690), Algorithm 1.
    """
    geometry = attack.geometry
    limits = geometry.limits(x, eps)

    def keep(x_adv: Tensor, x: Tensor, limits: State) -> Tensor:
        return geometry.keep(x_adv, x, eps, limits)

    def start(restart: Tensor, x: Tensor, limits: State) -> Tensor:
        noise = geometry.random_direction(x, TensorSeed(seed, restart))
        return keep(x + eps * noise, x, limits)

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        kept, kept_value, won, x, y, wrong, now, before, *rest = state
        best, best_gradient, best_value, size, last, seen, *looks = rest
        rises, since, look, halved, *ends = looks
        limits = tuple(ends)
        first = ops.equal(i % (steps + 1), 0)
        restart = i // (steps + 1)
        now = ops.cond(first, lambda: start(restart, x, limits), lambda: now)

        target = ops.take(wrong, restart // restarts, axis=1)
        gradient, value, z = gradient_at(now, y, target)
        here, gradient = off_the_spot(now, gradient, geometry.bounds)
        value = ops.nan_to_num(value)
        success = succeeds(y, z, attack.targeted)
        better = ~won & (success | (value > kept_value))
        if goes_on:
            better = better | (success & (value > kept_value))
        kept = choose(better, now, kept)
        kept_value = ops.where(better, value, kept_value)
        won = won | success

        # What a start begins with.
        best_value = ops.where(first, -np.inf, best_value)
        size = ops.where(first, 2 * eps, size)
        before = ops.where(first, now, before)
        look = ops.where(first, first_look, look)
        rises, since = (ops.where(first, 0, count) for count in (rises, since))
        halved = ops.where(first, True, halved)

        rises = rises + ops.cast((value > last) & ~first, "int32")
        since = since + ops.cast(~first, "int32")
        higher = value > best_value
        best = choose(higher, now, best)
        best_gradient = choose(higher, gradient, best_gradient)
        best_value = ops.where(higher, value, best_value)
        seen = ops.where(first, best_value, seen)

        looking = ops.equal(since, look)
        share = ops.cast(rises, "float32") / ops.cast(look, "float32")
        halve = (share <= RISING) | (~halved & (best_value <= seen))
        halve = looking & halve
        size = ops.where(halve, size / 2, size)
        now, here = choose(halve, best, now), choose(halve, best, here)
        gradient = choose(halve, best_gradient, gradient)
        seen = ops.where(looking, best_value, seen)
        halved = ops.where(looking, halve, halved)
        rises, since = (ops.where(looking, 0, count) for count in (rises, since))
        sooner_look = ops.maximum(look - sooner, least_look)
        look = ops.where(looking, sooner_look, look)

        moved = here + by_example(size, x) * geometry.direction(gradient)
        moved = keep(moved, x, limits)
        weight = ops.where(first, 1.0, MOMENTUM)
        moved = now + weight * (moved - now) + (1 - weight) * (now - before)
        state = (kept, kept_value, won, x, y, wrong, keep(moved, x, limits), now)
        state += (best, best_gradient, best_value, size, value, seen)
        state += (rises, since, look, halved, *limits)
        return state, success if stop_early else ops.zeros_like(success)

    number = ops.zeros_like(y, dtype="float32")
    count, no = ops.zeros_like(y), ops.zeros_like(y, dtype="bool")
    state: State = (x, number - np.inf, no, x, y, wrong, x, x)
    state += (x, ops.zeros_like(x), number, number, number, number)
    state += (count, count, count, no, *limits)
    rounds = (steps + 1) * restarts * wrong.shape[1]
    return backend.while_active(step, state, rounds)[0]

"""The steps of Auto-PGD in l1."""

from collections.abc import Callable

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import TensorSeed, length
from keras_gce.attacks.batch import by_example, choose
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.attacks.objectives import off_the_spot, succeeds
from keras_gce.checks import State, Tensor

__all__ = ["ascend_l1", "schedule_l1"]

# The authors': radii of the stages, in eps; what the number of changed features is
# divided by to be that of a step; how far it has to fall from look to look for steps to
# be whole again; what they are divided by otherwise, and the shortest, in radii.
RADII = (3, 2, 1)
DENSER, FALLS, SHORTER, SHORTEST = 1.5, 0.95, 1.5, 0.1


def schedule_l1(steps: int) -> dict[str, int]:
    """Returns how many steps the wider stages take, and how often each stage looks.

    The authors' 30% of the steps, and 4% of the stage's.
    """
    wide = min(-(-3 * steps // 10), (steps - 1) // 2)
    last = steps - 2 * wide
    return {
        "wide": wide,
        "look_wide": max(int(0.04 * wide), 1),
        "look_last": max(int(0.04 * last), 1),
    }


def ascend_l1(
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
    wide: Tensor,
    look_wide: Tensor,
    look_last: Tensor,
    seed: Tensor,
) -> Tensor:
    """Returns of each image the first success, or else the point of greatest loss.

    Each start goes through balls of 3 eps, 2 eps and eps, from the best point of one
    into the next. A step changes the few features with the greatest gradients, all by
    as much; how many is found from how many the best point has changed.

    Args:
        attack: The attack, for its bounds and whether it is targeted.
        gradient_at: As for `ascend`, as are the arguments not listed here.
        stop_early: Whether an example ends at its first success.
        goes_on: Whether, of several successes, that of the greatest loss is returned.
        x: Images of shape `(N, ...)`.
        y: Their classes, or targets, of shape `(N,)`.
        wrong: Classes of shape `(N, T)`.
        eps: Radius of the ball.
        steps: Number of steps of a start, of all stages together.
        restarts: Number of starts for each class.
        wide: Number of steps of each stage but the last.
        look_wide: Steps between their looks.
        look_last: Steps between the looks of the last stage.
        seed: Integers of shape `(2,)`.

    Reference:
        Croce and Hein, "Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image
        Classifiers", ICML 2021 (arXiv 2103.01208), Algorithm 1 and section 3.3.
    """
    # Of each stage one round more, in which it looks at where it begins.
    period = steps + len(RADII)
    geometry = attack.geometry
    into_ball = geometry.keep

    def start(restart: Tensor, x: Tensor) -> Tensor:
        noise = TensorSeed(seed, restart).normal(ops.shape(x))
        return x + geometry.change(geometry.range * noise)

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        kept, kept_value, won, x, y, wrong, now, *rest = state
        best, best_gradient, best_value, size, sparsity, before, since = rest
        j, restart = i % period, i // period
        stage = ops.cast(j > wide, "int32") + ops.cast(j > 2 * wide + 1, "int32")
        last = ops.equal(stage, 2)
        first = ops.equal(j, stage * (wide + 1))
        radius = eps * ops.cast(RADII[0] - stage, "float32")
        now = ops.cond(
            first,
            lambda: into_ball(
                ops.cond(ops.equal(j, 0), lambda: start(restart, x), lambda: best),
                x,
                radius,
            ),
            lambda: now,
        )

        target = ops.take(wrong, restart // restarts, axis=1)
        gradient, value, z = gradient_at(now, y, target)
        here, gradient = off_the_spot(now, gradient, geometry.bounds)
        value = ops.nan_to_num(value)
        # Outside the ball nothing counts.
        success = succeeds(y, z, attack.targeted) & last
        better = last & ~won & (success | (value > kept_value))
        if goes_on:
            better = better | (success & (value > kept_value))
        kept = choose(better, now, kept)
        kept_value = ops.where(better, value, kept_value)
        won = won | success

        higher = first | (value > best_value)
        best = choose(higher, now, best)
        best_gradient = choose(higher, gradient, best_gradient)
        best_value = ops.where(higher, value, best_value)

        since = ops.where(first, 0, since + 1)
        looking = ~first & ops.equal(since, ops.where(last, look_last, look_wide))
        since = ops.where(looking, 0, since)
        changed = ops.cast(ops.not_equal(best, x), "float32")
        changed = ops.reshape(length(changed, "l1"), (-1,))
        falls = looking & (changed < FALLS * before)
        shorter = ops.maximum(size / SHORTER, SHORTEST * radius)
        size = ops.where(looking, shorter, size)
        size = ops.where(first | falls, radius, size)
        sparsity = ops.where(first | looking, changed / DENSER, sparsity)
        before = ops.where(first | looking, changed, before)
        now, here = choose(falls, best, now), choose(falls, best, here)
        gradient = choose(falls, best_gradient, gradient)

        direction = geometry.sparse(gradient, sparsity)
        moved = into_ball(here + by_example(size, x) * direction, x, radius)
        state = (kept, kept_value, won, x, y, wrong, moved)
        state += (best, best_gradient, best_value, size, sparsity, before, since)
        return state, success if stop_early else ops.zeros_like(success)

    number = ops.zeros_like(y, dtype="float32")
    no = ops.zeros_like(y, dtype="bool")
    state: State = (x, number - np.inf, no, x, y, wrong, x, x, ops.zeros_like(x))
    state += (number, number, number, number, ops.zeros_like(y))
    rounds = period * restarts * wrong.shape[1]
    return backend.while_active(step, state, rounds)[0]

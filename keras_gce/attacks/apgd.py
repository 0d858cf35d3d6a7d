"""Auto-PGD: PGD that chooses its step size itself."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import TensorSeed, interval, normalize, project, round_down
from keras_gce.attacks.base import BallAttack, check_integer, serializable
from keras_gce.attacks.logits import logits_of
from keras_gce.attacks.objectives import clearly_above_0, margin, objective

__all__ = ["APGD"]

MOMENTUM = 0.75
# The least share of the steps since the last look that has to go up.
RISING = 0.75


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD(BallAttack):
    """Auto-PGD: PGD with momentum whose step size needs no choice.

    It starts at a random point with steps of 2 eps. At looks that come ever sooner, an
    example whose loss rose in fewer than three quarters of the steps, or whose best
    loss has not risen since the last look (unless its step was halved there), goes
    back to its best point with half the step.

    Example:

    >>> APGD(eps=0.1, loss="dlr").steps
    100

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`; the authors' losses are `"crossentropy"` and
            `"dlr"`.
        steps: Number of steps, >= 1. Defaults to 100.
        restarts: Number of random starts, >= 1; of each example the first success is
            kept, or else the point of the greatest loss. Defaults to 1.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
        of Diverse Parameter-free Attacks", ICML 2020 (arXiv 2003.01690), Algorithm 1.
    """

    steps: int = 100
    restarts: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_integer("steps", self.steps, least=1)
        check_integer("restarts", self.restarts, least=1)

    def run(self, model, x, y, seed=None, stop_early=False):
        steps = self.steps
        same = {"eps": 1.0, "steps": 1, "restarts": 1, "seed": None}
        return backend.run_compiled(
            model,
            key=(
                dataclasses.replace(self, **same),
                getattr(model, "loss", None) if self.loss == "training" else None,
                stop_early,
            ),
            fn=lambda *args, **kwargs: self._perturb(
                *args, **kwargs, stop_early=stop_early
            ),
            batch=(x, y),
            settings={
                "eps": round_down(self.eps),
                "steps": np.int32(steps),
                "restarts": np.int32(self.restarts),
                # The authors' 22%, 6% and 3% of the steps.
                "first_look": np.int32(max(int(0.22 * steps), 1)),
                "least_look": np.int32(max(int(0.06 * steps), 1)),
                "sooner": np.int32(max(int(0.03 * steps), 1)),
                "seed": np.array([self.draw_seed(seed), 0], "int32"),
            },
            jit_compile=False,
        )

    def _perturb(
        self,
        model,
        x,
        y,
        eps,
        steps,
        restarts,
        first_look,
        least_look,
        sooner,
        seed,
        stop_early,
    ):
        logits, loss = logits_of(model), objective(self.loss, model)
        sign = -1.0 if self.targeted else 1.0
        by_example = (-1,) + (1,) * (len(x.shape) - 1)

        def values(images, y):
            z = logits(images)
            return sign * loss(y, z), z

        limits = interval(x, eps, self.bounds) if self.norm == "linf" else ()

        def keep(x_adv, x, limits):
            if limits:
                return ops.clip(x_adv, *limits)
            return project(x_adv, x, eps, self.bounds)

        def start(restart, x, limits):
            here = TensorSeed(seed, restart)
            if self.norm == "l2":
                noise = normalize(keras.random.normal(ops.shape(x), seed=here), "l2")
            else:
                noise = keras.random.uniform(ops.shape(x), -1.0, 1.0, seed=here)
                axes = tuple(range(1, len(x.shape)))
                most = ops.max(ops.abs(noise), axis=axes, keepdims=True)
                noise = noise / ops.maximum(most, 1e-12)
            return keep(x + eps * noise, x, limits)

        def choose(condition, a, b):
            return ops.where(ops.reshape(condition, by_example), a, b)

        def step(i, state):
            kept, kept_value, won, x, y, now, before, *rest = state
            best, best_gradient, best_value, size, last, seen, *looks = rest
            rises, since, look, halved, *limits = looks
            first = ops.equal(i % (steps + 1), 0)
            now = ops.cond(
                first, lambda: start(i // (steps + 1), x, limits), lambda: now
            )

            gradient, value, z = backend.gradient_of(lambda v: values(v, y), now)
            gradient, value = ops.nan_to_num(gradient), ops.nan_to_num(value)
            success = clearly_above_0(sign * margin(y, z), z)
            better = ~won & (success | (value > kept_value))
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
            now = choose(halve, best, now)
            gradient = choose(halve, best_gradient, gradient)
            seen = ops.where(looking, best_value, seen)
            halved = ops.where(looking, halve, halved)
            rises, since = (ops.where(looking, 0, count) for count in (rises, since))
            sooner_look = ops.maximum(look - sooner, least_look)
            look = ops.where(looking, sooner_look, look)

            direction = normalize(gradient, self.norm)
            moved = keep(now + ops.reshape(size, by_example) * direction, x, limits)
            weight = ops.where(first, 1.0, MOMENTUM)
            moved = now + weight * (moved - now) + (1 - weight) * (now - before)
            state = (kept, kept_value, won, x, y, keep(moved, x, limits), now)
            state += (best, best_gradient, best_value, size, value, seen)
            state += (rises, since, look, halved, *limits)
            return state, success if stop_early else ops.zeros_like(success)

        number = ops.zeros_like(y, dtype="float32")
        count, no = ops.zeros_like(y), ops.zeros_like(y, dtype="bool")
        state = (x, number - np.inf, no, x, y, x, x)
        state += (x, ops.zeros_like(x), number, number, number, number)
        state += (count, count, count, no, *limits)
        return backend.while_active(step, state, (steps + 1) * restarts)[0]

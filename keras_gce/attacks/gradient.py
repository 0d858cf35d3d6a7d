"""The gradient attacks: one loop, and FGSM, BIM, PGD and MIM as its cases."""

import dataclasses
import functools
from typing import Any, cast

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.averaging import averaged
from keras_gce.attacks.ball import TensorSeed, check_start, over_mean, round_down
from keras_gce.attacks.batch import choose
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.in_ball import LossAttack
from keras_gce.attacks.objectives import gradient_of, objective, off_the_spot, succeeds
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer, check_number
from keras_gce.classifier import Classifier

__all__ = ["BIM", "FGSM", "MIM", "PGD"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _GradientAttack(EOTAttack, LossAttack):
    """Steps along the gradient, each followed by a return into the ball.

    What a case does not let the caller choose is fixed here: FGSM is one full step from
    the clean image.
    """

    steps = 1
    restarts = 1
    step_size = cast(float | None, None)
    decay = cast(float | None, None)
    # A step of `None` is so many times eps / steps.
    step_factor = 1.0
    trains = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("steps", self.steps, least=1)
        check_start(self.random_start, self.restarts)
        if self.step_size is not None:
            check_number("step_size", self.step_size, least=0)
        if self.decay is not None:
            check_number("decay", self.decay, least=0)

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images."""
        stop_early = stop_early and not self.sampled  # See `EOTAttack`.
        starts = (self.random_start, self.restarts, self.decay)
        return self.compiled(
            classifier,
            functools.partial(self.perturb, stop_early=stop_early),
            batch=(x, y),
            settings=self.settings(self.draw_seed(seed)),
            key=(*starts, bool(self.sampled), stop_early),
            jit_compile=False if stop_early else self.jit_compile,
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        return self.gradient_passes * self.steps * self.restarts

    def settings(self, seed: int) -> dict[str, Any]:
        """Returns the numbers that `perturb` takes, of the attack and a seed."""
        step_size = self.step_size
        if step_size is None:
            step_size = self.step_factor * self.reach / self.steps
        return {
            "eps": round_down(self.reach),
            "step_size": np.float32(step_size),
            "steps": np.int32(self.steps),
            "seed": seed,
            **self.sampled,
        }

    def perturb(
        self,
        model: keras.Model | Classifier,
        x: Tensor,
        y: Tensor,
        eps: Tensor,
        step_size: Tensor,
        steps: Tensor,
        seed: Tensor,
        eot_samples: Tensor | None = None,
        stop_early: bool = False,
        training: bool = False,
    ) -> Tensor:
        """Perturbs images, as tensors in compiled code; nothing is checked there.

        Args:
            model: The model, or its `Classifier`.
            x: Images of shape `(N, ...)`, float32.
            y: True classes, or targets, of shape `(N,)`, int32.
            eps: Radius of the ball, the greatest of the features', a float32 scalar.
            step_size: Length of a step, a float32 scalar.
            steps: Number of steps, an int32 scalar.
            seed: Integers of shape `(2,)`.
            eot_samples: Passes for a gradient, an int32 scalar; `None`: one.
            stop_early: Whether an example ends at its first success. Defaults to
                `False`.
            training: Whether the model is seen in training mode. Defaults to `False`.

        Returns:
            The adversarial images.
        """
        classifier = Classifier.of(model)
        loss = objective(self.loss, classifier)
        restarts, decay, geometry = self.restarts, self.decay, self.geometry
        sign = -1.0 if self.targeted else 1.0
        x = ops.convert_to_tensor(x)

        def values(images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            z = classifier.logits(images, training=training)
            return sign * loss(y, z), z

        def start(restart: Tensor, x: Tensor, limits: State) -> Tensor:
            if not self.random_start:
                return x
            here = TensorSeed(seed, restart)
            if self.random_start == "normal":
                point = geometry.noisy(x, here)
                return geometry.keep(point, x, eps, limits) if stop_early else point
            return geometry.keep(geometry.random_point(x, eps, here), x, eps, limits)

        def step(
            x_adv: Tensor, momentum: Tensor, x: Tensor, y: Tensor, limits: State
        ) -> State:
            gradient, _, z = gradient_of(
                classifier, lambda v: values(v, y), x_adv, geometry.bounds, eot_samples
            )
            here, gradient = off_the_spot(x_adv, gradient, geometry.bounds)
            if decay is not None:
                kept = momentum if decay == 1 else decay * momentum
                momentum = kept + over_mean(gradient)
                if decay > 1:  # It may grow out of float32, and infinity has no length.
                    momentum = ops.nan_to_num(momentum)
                gradient = momentum
            moved = here + step_size * geometry.direction(gradient)
            return geometry.keep(moved, x, eps, limits), momentum, z

        limits = geometry.limits(x, eps)
        # A tensor that is carried along only where there is momentum.
        rest = () if decay is None else (ops.zeros_like(x),)

        if stop_early:
            # A restart needs one pass more than its steps, to look at where it ended;
            # the last one's end is looked at by whoever asked.
            period = steps + 1 if restarts > 1 else steps
            rounds = period * restarts - (1 if restarts > 1 else 0)

            def active_step(i: Tensor, state: State) -> tuple[State, Tensor]:
                x_adv, x, y, *others = state
                limits, rest = tuple(others[:ends]), others[ends:]
                if restarts > 1:
                    x_adv = ops.cond(
                        ops.equal(i % period, 0),
                        lambda: start(i // period, x, limits),
                        lambda: x_adv,
                    )
                moved, momentum, z = step(x_adv, rest[0] if rest else 0, x, y, limits)
                done = succeeds(y, z, self.targeted)
                moved = choose(done, x_adv, moved)
                carried = (*limits, momentum) if rest else limits
                return (moved, x, y, *carried), done

            ends = len(limits)
            first = start(0, x, limits) if restarts == 1 else x
            state = (first, x, y, *limits, *rest)
            return backend.while_active(active_step, state, rounds)[0]

        def restart(r: Tensor) -> Tensor:
            def body(i: Tensor, x_adv: Tensor, *rest: Tensor) -> State:
                x_adv, momentum, _ = step(x_adv, rest[0] if rest else 0, x, y, limits)
                return (i + 1, x_adv, momentum) if rest else (i + 1, x_adv)

            state = (0, start(r, x, limits), *rest)
            return backend.while_loop(lambda i, *_: i < steps, body, state)[1]

        if restarts == 1:
            return restart(0)

        def again(
            r: Tensor, best: Tensor, best_value: Tensor, best_success: Tensor
        ) -> State:
            x_adv = restart(r)
            value, z = averaged(lambda: values(x_adv, y), eot_samples)
            won = succeeds(y, z, self.targeted)
            better = (won & ~best_success) | (
                ops.equal(won, best_success) & (value > best_value)
            )
            best_value = ops.where(better, value, best_value)
            return r + 1, choose(better, x_adv, best), best_value, best_success | won

        least = ops.zeros_like(y, dtype="float32") - np.inf
        state = (0, x, least, ops.zeros_like(y, dtype="bool"))
        return backend.while_loop(lambda r, *_: r < restarts, again, state)[1]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(_GradientAttack):
    """Fast gradient sign method: one full step from the clean image.

    Example:

    >>> FGSM(eps=0.1).name
    'FGSM'

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the other settings
            see `LossAttack`.

    Reference:
        Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015
        (arXiv 1412.6572).
    """


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class BIM(_GradientAttack):
    """Basic iterative method: FGSM in small steps.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `LossAttack`.
        step_size: Length of a step, >= 0. Defaults to `None`: eps / steps, as the
            paper has it.
        steps: Number of steps, >= 1. Defaults to 10.

    Reference:
        Kurakin et al., "Adversarial Examples in the Physical World", 2017
        (arXiv 1607.02533).
    """

    step_size: float | None = None
    steps: int = 10


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(_GradientAttack):
    """Projected gradient descent: small steps from a random point of the ball.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `LossAttack`.
        step_size: Length of a step, >= 0. Defaults to `None`: 2.5 eps / steps, as
            Madry et al. have it, with which it can cross the ball and turn back. Chen
            et al. (ICCV 2019) take eps / steps, which leaves more.
        steps: Number of steps, >= 1. Defaults to 40.
        random_start: Whether to start at a random point; `"normal"`: at the image with
            normal noise of 0.001 of the range of the pixels, as the authors of TRADES
            and MART do. Defaults to `True`.
        restarts: Number of starts, >= 1, of which the best end is kept for each
            example: a success before a failure, then the greater loss. Defaults to 1.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
        ICLR 2018 (arXiv 1706.06083).
    """

    step_size: float | None = None
    steps: int = 40
    random_start: bool | str = True
    restarts: int = 1

    step_factor = 2.5


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class MIM(_GradientAttack):
    """Momentum iterative method: steps along an accumulated gradient.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `LossAttack`.
        step_size: Length of a step, >= 0. Defaults to `None`: eps / steps, as the
            paper has it.
        steps: Number of steps, >= 1. Defaults to 40.
        decay: Share of the accumulated gradient that is kept at each step, >= 0.
            Defaults to 1.0.

    Reference:
        Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018
        (arXiv 1710.06081).
    """

    step_size: float | None = None
    steps: int = 40
    decay: float = 1.0

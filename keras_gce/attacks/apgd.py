"""Auto-PGD: PGD that chooses its step size itself; its steps are in files beside."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_gce import names
from keras_gce.attacks.apgd_l1 import ascend_l1, schedule_l1
from keras_gce.attacks.apgd_steps import ascend, schedule
from keras_gce.attacks.averaging import averaged
from keras_gce.attacks.ball import round_down
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.in_ball import BallAttack, LossAttack
from keras_gce.attacks.objectives import (
    gradient_of,
    likeliest_wrong,
    objective,
    targeted_dlr,
    targeted_margin,
)
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["APGD", "APGDT"]


class _AutoPGD(EOTAttack, BallAttack):
    """Auto-PGD on what a child ascends, towards some wrong classes or away."""

    steps = 100
    restarts = 1
    num_targets = 0

    norms = names.NORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("steps", self.steps, least=1)
        check_integer("restarts", self.restarts, least=1)

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
        targets = min(self.num_targets, classifier.num_classes - 1)
        looks = schedule_l1 if self.norm == "l1" else schedule
        return self.compiled(
            classifier,
            functools.partial(_perturb, self, targets, stop_early),
            batch=(x, y),
            key=(targets, bool(self.sampled), stop_early),
            settings={
                "eps": round_down(self.reach),
                "steps": np.int32(self.steps),
                "restarts": np.int32(self.restarts),
                **{n: np.int32(k) for n, k in looks(self.steps).items()},
                "seed": self.draw_seed(seed),
                **self.sampled,
            },
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        targets = max(min(self.num_targets, num_classes - 1), 1)
        return self.gradient_passes * self.steps * self.restarts * targets

    def _ascended(self, classifier: Classifier) -> Callable[..., Tensor]:
        """Returns the function of labels, targets and logits."""
        raise NotImplementedError


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD(_AutoPGD, LossAttack):
    """Auto-PGD: PGD with momentum whose step size needs no choice.

    It starts at a random point with steps of 2 eps. At looks that come ever sooner, an
    example whose loss rose in fewer than three quarters of the steps, or whose best
    loss has not risen since the last look (unless its step was halved there), goes
    back to its best point with half the step.

    In l1 each start goes through balls of 3 eps and 2 eps into that of eps, 30, 30 and
    40% of the steps; a step changes the few features with the greatest gradients, about
    two thirds as many as the best point differs in from the image.

    Example:

    >>> APGD(eps=0.1, loss="dlr").steps
    100

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `LossAttack` and `EOTAttack`; the authors' losses are
            `"crossentropy"` and `"dlr"`.
        steps: Number of steps, >= 1. Defaults to 100.
        restarts: Number of random starts, >= 1; of each example the first success is
            kept, or else the point of the greatest loss. Defaults to 1.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
        of Diverse Parameter-free Attacks", ICML 2020 (arXiv 2003.01690), Algorithm 1;
        in l1 "Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image
        Classifiers", ICML 2021 (arXiv 2103.01208).
    """

    steps: int = 100
    restarts: int = 1

    def _ascended(self, classifier: Classifier) -> Callable[..., Tensor]:
        loss = objective(self.loss, classifier)
        return lambda y, _, z: loss(y, z)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class APGDT(_AutoPGD):
    """Targeted Auto-PGD: towards one wrong class after the other.

    It runs `APGD` on the targeted difference of logits ratio, towards each of the
    wrong classes with the greatest logits on the clean image. It succeeds at any wrong
    class. Of 2 or 3 classes, for which the ratio is not defined, it ascends the
    target's logit minus the true one.

    Example:

    >>> APGDT(eps=0.1).name
    'APGD-T'

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        steps: Number of steps towards each class, >= 1. Defaults to 100.
        restarts: Number of random starts for each class, >= 1. Defaults to 1.
        num_targets: Number of classes, >= 1; all wrong ones where there are fewer.
            Defaults to 9.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
        of Diverse Parameter-free Attacks", ICML 2020 (arXiv 2003.01690), section 4.2.
    """

    steps: int = 100
    restarts: int = 1
    num_targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("num_targets", self.num_targets, least=1)
        if self.targeted:
            raise InputError(
                "`targeted` must be False: APGD-T chooses its targets itself; "
                "APGD takes them. Received: targeted=True"
            )

    @property
    def name(self) -> str:
        """The attack's name in reports."""
        return "APGD-T"

    def _ascended(self, classifier: Classifier) -> Callable[..., Tensor]:
        # The ratio has the four greatest logits.
        return targeted_dlr if classifier.num_classes >= 4 else targeted_margin


def _perturb(
    attack: _AutoPGD,
    targets: int,
    stop_early: bool,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eot_samples: Tensor | None = None,
    **settings: Tensor,
) -> Tensor:
    logits, loss = classifier.logits, attack._ascended(classifier)
    bounds = attack.geometry.bounds
    sign = -1.0 if attack.targeted else 1.0

    def gradient_at(images: Tensor, y: Tensor, target: Tensor) -> State:
        def values(v: Tensor) -> tuple[Tensor, Tensor]:
            z = logits(v)
            return sign * loss(y, target, z), z

        return gradient_of(classifier, values, images, bounds, eot_samples)

    wrong = ops.zeros_like(y)[:, None]
    if targets:
        z = averaged(lambda: logits(x), eot_samples)
        wrong = likeliest_wrong(y, z, targets)
    steps = ascend_l1 if attack.norm == "l1" else ascend
    goes_on = eot_samples is not None
    return steps(attack, gradient_at, stop_early, goes_on, x, y, wrong, **settings)

"""AutoAttack: the ensemble of attacks that needs no tuning."""

import dataclasses

import numpy as np

from keras_gce import names
from keras_gce.attacks.apgd import APGD, APGDT
from keras_gce.attacks.base import Attack
from keras_gce.attacks.fab import FAB
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.attacks.serializable import serializable
from keras_gce.attacks.square import Square
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["AutoAttack"]

VERSIONS = ("standard", "plus", "rand")


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoAttack(BallAttack):
    """AutoAttack: each attack of an ensemble on what survived those before it.

    - `"standard"`: APGD on cross-entropy, APGD-T, FAB-T, Square with 5,000 queries of a
      schedule of 10,000. In l1 with 5 starts of APGD and 5 targets of APGD-T.
    - `"plus"`: APGD on cross-entropy and on the difference of logits ratio, and FAB,
      with 5 starts each; Square; APGD-T; FAB-T.
    - `"rand"`, for models whose outputs are random: APGD on both losses, each gradient
      averaged over 20 passes.

    In `evaluate` each attack has a row of its own, which says what is left after it.

    Example:

    >>> [attack.name for attack in AutoAttack(eps=0.3).attacks]
    ['APGD', 'APGD-T', 'FAB-T', 'Square']

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        version: `"standard"`, `"plus"` or `"rand"`. Defaults to `"standard"`.

    Raises:
        InputError: If an argument is not as described; from a call, if the model has
            fewer than 4 classes (3 for "rand"), for which the losses are not defined.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
        of Diverse Parameter-free Attacks", ICML 2020 (arXiv 2003.01690); in l1
        "Mind the Box", ICML 2021 (arXiv 2103.01208).
    """

    version: str = "standard"

    norms = names.NORMS
    ensemble = "AutoAttack"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in VERSIONS:
            raise InputError(
                f"`version` must be one of {', '.join(VERSIONS)}. "
                f"Received: version={self.version!r}"
            )
        if self.targeted:
            raise InputError(
                "`targeted` must be False: AutoAttack chooses its targets itself. "
                "Received: targeted=True"
            )

    @property
    def rows(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        return self.attacks

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        common = self.ball
        if self.version == "rand":
            return tuple(
                APGD(loss=loss, eot_iter=20, **common)
                for loss in ("crossentropy", "dlr")
            )
        standard_l1 = self.version == "standard" and self.norm == "l1"
        targeted = (
            APGDT(num_targets=5 if standard_l1 else 9, **common),
            FAB(**common),
        )
        square = Square(rescale_schedule=False, **common)
        if self.version == "plus":
            return (
                APGD(restarts=5, **common),
                APGD(restarts=5, loss="dlr", **common),
                FAB(restarts=5, num_targets=None, **common),
                square,
                *targeted,
            )
        return (APGD(restarts=5 if standard_l1 else 1, **common), *targeted, square)

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes its attacks make for an image."""
        return sum(attack.passes(features, num_classes) for attack in self.attacks)

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses what one of its attacks can't run on."""
        num_classes = classifier.num_classes
        least = 3 if self.version == "rand" else 4
        if num_classes < least:
            raise InputError(
                f"`model` must have at least {least} classes for AutoAttack's "
                f'"{self.version}" version; for fewer run APGD(loss="margin"), FAB and '
                f"Square. Received: {num_classes} classes"
            )
        for attack in self.attacks:
            attack.check(classifier, x, y)

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images: each attack those that are left."""
        x_adv = np.array(x)
        left = np.flatnonzero(classifier.right(x, y))
        for attack in self.attacks:
            if not len(left):
                break
            moved = attack.run(classifier, x[left], y[left], seed, stop_early=True)
            x_adv[left] = np.asarray(moved)
            left = left[classifier.right(x_adv[left], y[left])]
        return x_adv

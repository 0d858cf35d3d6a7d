"""AutoAttack: the ensemble of attacks that needs no tuning."""

import dataclasses
from typing import Any

import numpy as np

from keras_gce import names
from keras_gce.attacks.apgd import APGD, APGDT
from keras_gce.attacks.base import Attack
from keras_gce.attacks.fab import FAB
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.attacks.serializable import serializable
from keras_gce.attacks.square import Square
from keras_gce.checks import Tensor, check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["AutoAttack"]

VERSIONS = ("standard", "plus", "rand")
# Classes that the authors' losses need.
FEWEST = 4
# How many axes an example has -> what it is called, if it is no image.
NO_IMAGE = {1: "table", 2: "sequence"}


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoAttack(BallAttack):
    """AutoAttack: each attack of an ensemble on what survived those before it.

    - `"standard"`: APGD on cross-entropy, APGD-T, FAB-T, Square with 5,000 queries of a
      schedule of 10,000. In l1 with 5 starts of APGD and 5 targets of APGD-T.
    - `"plus"`: APGD on cross-entropy and on the difference of logits ratio, and FAB,
      with 5 starts each; Square; APGD-T; FAB-T.
    - `"rand"`, for models whose outputs are random: APGD on both losses, by default
      with `eot_samples=20`.

    In `evaluate` each attack has a row of its own, which says what is left after it.

    What the authors' can't run on it runs on with what remains, under another name:

    - "AutoAttack, 2 classes", "AutoAttack, 3 classes": APGD-T ascends the target's
      logit minus the true one, since the targeted difference of logits ratio needs 4
      classes. The ratio itself needs 3: of 2 APGD is on the margin in its place.
    - "AutoAttack, table" for vectors, "AutoAttack, sequence" for images of shape
      `(N, T, C)`, "AutoAttack, no image" for others that are not of shape
      `(N, H, W, C)`: `Square` changes random features in place of windows.
    - Both: "AutoAttack, 2 classes, table".

    Such a name goes by the model alone, whatever the version, "rand" too.

    Example:

    >>> [attack.name for attack in AutoAttack(eps=0.3).attacks]
    ['APGD', 'APGD-T', 'FAB-T', 'Square']

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        version: `"standard"`, `"plus"` or `"rand"`. Defaults to `"standard"`.
        eot_samples: That of its gradient attacks, >= 1, see `EOTAttack`. Defaults to
            `None`: 20 in `"rand"`, as its authors have it, and 1 otherwise.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
        of Diverse Parameter-free Attacks", ICML 2020 (arXiv 2003.01690); in l1
        "Mind the Box", ICML 2021 (arXiv 2103.01208).
    """

    version: str = "standard"
    eot_samples: int | None = None

    norms = names.NORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in VERSIONS:
            raise InputError(
                f"`version` must be one of {', '.join(VERSIONS)}. "
                f"Received: version={self.version!r}"
            )
        if self.eot_samples is not None:
            check_integer("eot_samples", self.eot_samples, least=1)
        if self.targeted:
            raise InputError(
                "`targeted` must be False: AutoAttack chooses its targets itself. "
                "Received: targeted=True"
            )

    def ensemble(self, classifier: Classifier) -> str:
        """Returns its name on a model, which says where it is not the authors'."""
        parts, shape = ["AutoAttack"], classifier.image_shape
        if classifier.num_classes < FEWEST:
            parts.append(f"{classifier.num_classes} classes")
        if shape is not None and len(shape) != 3:
            parts.append(NO_IMAGE.get(len(shape), "no image"))
        return ", ".join(parts)

    def rows(self, classifier: Classifier) -> tuple[Attack, ...]:
        """Returns the attacks as they run on a model, in their order."""
        if classifier.num_classes > 2:
            return self.attacks
        return tuple(
            attack.with_loss("margin") if attack.loss == "dlr" else attack
            for attack in self.attacks
        )

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks, in their order, on images of four classes or more."""
        samples: dict[str, Any] = {
            "eot_samples": self.eot_samples or (20 if self.version == "rand" else 1)
        }
        return tuple(
            dataclasses.replace(attack, **samples if attack.needs_gradient else {})
            for attack in self._one_pass
        )

    @property
    def _one_pass(self) -> tuple[Attack, ...]:
        common = self.ball
        if self.version == "rand":
            return tuple(APGD(loss=loss, **common) for loss in ("crossentropy", "dlr"))
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
        for attack in self.rows(classifier):
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
        for attack in self.rows(classifier):
            if not len(left):
                break
            moved = attack.run(classifier, x[left], y[left], seed, stop_early=True)
            x_adv[left] = np.asarray(moved)
            left = left[classifier.right(x_adv[left], y[left])]
        return x_adv

"""`EOTAttack`: what attacks share that follow the gradient of a random model."""

import dataclasses

import numpy as np

from keras_gce.attacks.base import GRADIENT, Attack
from keras_gce.checks import check_integer

__all__ = ["EOTAttack"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EOTAttack(Attack):
    """Base of the attacks that follow the gradient: over how many passes it is taken.

    With more than one, FGSM, BIM, PGD, MIM, APGD and APGD-T go on after a success, in
    `evaluate` too: where the mean answer has just changed, half of a random model's
    single answers may still be right. FAB, FMN, C&W and JSMA look for that very place.

    Args:
        eot_samples: Passes over which each gradient is averaged, and with it the loss
            and the logits by which the attack steers, >= 1: for models that draw random
            numbers (expectation over transformation). Each pass and each step has
            numbers of its own. Defaults to 1. For the settings not listed here see
            `Attack`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018
        (arXiv 1707.07397), Eq. 2; "Obfuscated Gradients Give a False Sense of
        Security", ICML 2018 (arXiv 1802.00420), section 4.2.
    """

    eot_samples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("eot_samples", self.eot_samples, least=1)

    @property
    def sampled(self) -> dict[str, np.int32]:
        """The setting of a compiled function; none where there is one pass."""
        many = self.eot_samples > 1
        return {"eot_samples": np.int32(self.eot_samples)} if many else {}

    @property
    def gradient_passes(self) -> float:
        """What a step along the gradient costs, in forward passes."""
        return GRADIENT * self.eot_samples

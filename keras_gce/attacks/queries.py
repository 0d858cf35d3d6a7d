"""`QueryAttack`: what attacks share that only ask the model, and count how often."""

import dataclasses

import numpy as np

from keras_gce.attacks.in_ball import BallAttack
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier

__all__ = ["QueryAttack"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryAttack(BallAttack):
    """Base of the attacks in a ball that ask for no gradient; it has a `counted`.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
    """

    needs_gradient = False

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images."""
        return self.counted(classifier, x, y, seed, stop_early)[0]

    def counted(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Perturbs checked images, and counts the forward passes of each."""
        raise NotImplementedError

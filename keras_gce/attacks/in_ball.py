"""Attacks that keep within a ball, and those of them that ascend a loss of choice."""

import dataclasses
from typing import Any

import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.attacks.objectives import check_loss
from keras_gce.checks import check_broadcast
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import (
    Eps,
    PerFeature,
    check_radius,
    shares_of,
    span_of,
)

__all__ = ["BallAttack", "LossAttack"]

# Of the range of the pixels: further than any image is from another one.
FAR = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class BallAttack(Attack):
    """Base of the attacks that keep within a ball around the image.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. 0 returns the images. An
            array that broadcasts to an image gives each feature its own: the ball is
            what `norm` makes of the changes, each over its eps, up to 1. A feature
            whose eps is 0 is left alone, exactly. For the settings not listed here see
            `Attack`.
        norm: The norm of the ball: `"linf"`, `"l2"`, or `"l1"` of an attack that knows
            it. Defaults to `"linf"`.

    Raises:
        InputError: If an argument is not as described.
    """

    # A field, so that the `None` of attacks without a ball is no default.
    eps: Eps = dataclasses.field()
    norm: str = "linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "eps", check_radius(self.eps))

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses radii that do not broadcast to an image."""
        super().check(classifier, x, y)
        check_broadcast("eps", self.eps, x.shape[1:])

    @property
    def shares(self) -> PerFeature | None:
        """The features' eps over the greatest one; `None`: all have the same."""
        return shares_of(self.eps)

    @property
    def reach(self) -> float:
        """The greatest radius, or one that holds every image, lest squares overflow."""
        return min(float(self.eps), FAR * span_of(self.bounds))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossAttack(BallAttack):
    """Base of the attacks in a ball that ascend a loss of the caller's choice.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        loss: What the attack ascends: `"crossentropy"` on the logits, `"training"`
            (the loss the model was compiled with), `"margin"`, `"dlr"`, or a callable
            `(y, logits)` -> one value an example; with `targeted`, what it descends.
            Defaults to `"crossentropy"`.
        jit_compile: Whether to compile with XLA; `"auto"`: on a GPU. Defaults to
            `"auto"`.

    Raises:
        InputError: If an argument is not as described.
    """

    loss: Any = "crossentropy"
    jit_compile: Any = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses a loss that the model doesn't have."""
        super().check(classifier, x, y)
        if self.loss == "training":
            classifier.check_loss()
        if self.loss == "dlr" and classifier.num_classes < 3:
            raise InputError(
                '`loss="dlr"` must have a model of at least 3 classes. '
                f"Received: {classifier.num_classes} classes"
            )

    def with_loss(self, loss: Any) -> "LossAttack":
        """Returns the same attack, ascending `loss`."""
        return dataclasses.replace(self, loss=loss)

"""Which class an attack moves an example towards."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["TargetAttack"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetAttack(Attack):
    """Base of the attacks that choose a target class for each example.

    Args:
        target: `"random"`: a wrong class drawn uniformly with `seed`, the "average
            case"; `"least_likely"`: the wrong class of the lowest logit; or an
            integer: this class for all examples. Unused with `targeted=True`, where
            `y` holds the targets. Defaults to `"random"`. For the settings not listed
            here see `Attack`.

    Raises:
        InputError: If an argument is not as described.
    """

    target: Any = "random"

    TARGETS: ClassVar[tuple[str | None, ...]] = ("random", "least_likely")

    def __post_init__(self) -> None:
        super().__post_init__()
        is_class = isinstance(self.target, int) and not isinstance(self.target, bool)
        if self.target not in self.TARGETS and not (is_class and self.target >= 0):
            raise InputError(
                f"`target` must be one of {', '.join(map(str, self.TARGETS))}, or a "
                f"class. Received: target={self.target!r}"
            )

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses a target that the model lacks, or that is a true class."""
        super().check(classifier, x, y)
        chosen, classes = self.target, classifier.num_classes
        # Of the names and `None` nothing can be wrong; `True` is no class.
        if self.targeted or not isinstance(chosen, int):
            return
        if chosen >= classes or (y == chosen).any():
            raise InputError(
                f"`target` must be a class in [0, {classes}) that is not the label of "
                f"any example. Received: target={chosen}, labels {np.unique(y)[:10]}"
            )

    def targets(
        self, classifier: Classifier, x: np.ndarray, y: np.ndarray, seed: int
    ) -> np.ndarray | None:
        """Returns the target of each example, or `None` where any wrong class will do.

        Args:
            classifier: The `Classifier` of the model.
            x: Images of shape `(N, ...)`.
            y: Integers of shape `(N,)`: true classes, or targets if `targeted`.
            seed: An integer; decides the random ones.

        Returns:
            Integers of shape `(N,)`, or `None`.

        Raises:
            InputError: If `target` is a class that the model lacks or a true one.
        """
        num_classes = classifier.num_classes
        if self.targeted:
            return y
        if self.target == "random":
            offset = np.random.default_rng(seed).integers(1, num_classes, len(y))
            return ((y + offset) % num_classes).astype("int32")
        if self.target == "least_likely":
            z = np.nan_to_num(classifier.predict(x))
            z[np.arange(len(y)), y] = np.inf
            return z.argmin(-1).astype("int32")
        if isinstance(self.target, int):
            return np.full_like(y, self.target)
        return None

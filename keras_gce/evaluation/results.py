"""What a report is made of."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_gce.evaluation.intervals import wilson_interval

__all__ = [
    "AttackResult",
    "Curve",
    "Flag",
    "GalleryExample",
    "Part",
    "RowArrays",
    "WorstCase",
    "measured",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What one attack, ascending one loss, did to all examples.

    Args:
        name: The attack.
        engine: The library that ran it: "keras_gce" or "cleverhans".
        loss: What it ascended; `None` for an attack with an objective of its own.
        eps: Radius of the ball, in units of the images, the greatest of the features';
            `None`: it has none.
        norm: The norm of the ball, or of the distance that FMN makes least.
        n_examples: Number of examples evaluated.
        clean_accuracy: Share of them that is right before the attack.
        robust_accuracy: Share of them that is right before and after it.
        success_rate: Share, of the examples right before, that reached the attack's
            goal: its target class, where it has one, or else any wrong class; `None`
            where none was right before.
        mean_l2: Mean l2 distance of the successes from their images; `None` where
            there is none.
        max_linf: Greatest change of a pixel over all attacked examples.
        seconds: Time that the attack took, compilation included.
        settings: All settings of the attack.
        median_l2: The median of the same distances.
        mean_l0: Mean number of features (a pixel's channel each) that the successes
            changed.
        ensemble: Name of the ensemble, such as "AutoAttack" or, where its authors'
            can't run, "AutoAttack, 2 classes", whose row this is: of its rows each
            attacks what those before it left right, and says what is left then. `None`
            for an attack of its own.
        median_queries: Median number of forward passes until a success, over the
            successes; `None` where there is none, and of an attack that counts none.
    """

    name: str
    engine: str
    loss: str | None
    eps: float | None
    norm: str | None
    n_examples: int
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float | None
    mean_l2: float | None
    max_linf: float
    seconds: float
    settings: dict[str, Any]
    median_l2: float | None = None
    mean_l0: float | None = None
    ensemble: str | None = None
    median_queries: float | None = None

    @property
    def label(self) -> str:
        """Text: the attack's name, after that of its ensemble where it is of one."""
        return f"{self.ensemble}: {self.name}" if self.ensemble else self.name

    @property
    def by_feature(self) -> bool:
        """Whether features have radii of their own, of which `eps` is the greatest."""
        # Of an array the settings have a text.
        return isinstance(self.settings.get("eps"), str)

    @property
    def budget(self) -> str:
        """Text: what bounds the attack, its eps or JSMA's gamma; "" for neither."""
        if self.eps is not None:
            return f"{self.eps:g}" + " by feature" * self.by_feature
        gamma = self.settings.get("gamma")
        return "" if gamma is None else f"gamma {gamma:g}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A sign that a robust accuracy may be higher than the robustness, or its absence.

    Args:
        name: What was looked for.
        value: What was measured; `None` where it could not be.
        threshold: The value above which the flag is raised.
        message: What was seen, what it usually means, what to run next.
        reference: Where the sign is described.
    """

    name: str
    value: float | None
    threshold: float
    message: str
    reference: str = ""

    @property
    def raised(self) -> bool:
        """Whether the value is above the threshold, or could not be measured."""
        # So, since NaN compares as false: what can't be told has not been passed.
        return self.value is None or not self.value <= self.threshold

    @property
    def figure(self) -> float:
        """The value to compare by: what could not be measured is worse than any."""
        return math.inf if self.value is None else self.value


def measured(
    name: str, value: float, threshold: float, message: str, reference: str
) -> Flag:
    """Returns a `Flag` whose message is true of its value.

    Args:
        name: What was looked for.
        value: What was measured, NaN or infinite where it could not be.
        threshold: The value above which the flag is raised.
        message: What to say where it is raised.
        reference: Where the sign is described.
    """
    if not math.isfinite(value):
        text = "this could not be computed: a loss or logits were not finite"
        return Flag(name, None, threshold, text, reference)
    if value <= threshold:
        message = f"not seen: {value:.3g}, and {threshold:.3g} is no sign yet"
    return Flag(name, value, threshold, message, reference)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy against eps, under one threat model.

    Args:
        threat_model: Its name.
        attack: Name of the attack.
        norm: The norm of the balls.
        eps: List of radii, in units of the images; the first is 0.
        accuracy: List of the shares of the examples that are right at each.
        n_examples: Number of examples.
    """

    threat_model: str
    attack: str
    norm: str
    eps: list[float]
    accuracy: list[float]
    n_examples: int

    def intervals(self, level: float = 0.95) -> list[tuple[float, float]]:
        """Returns a confidence interval for each accuracy, (least, greatest)."""
        return [wilson_interval(a, self.n_examples, level) for a in self.accuracy]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstCase:
    """What all attacks together leave within one ball.

    Args:
        norm: The norm of the ball.
        eps: Its radius, in units of the images.
        accuracy: Share of the examples that is right before and after all attacks
            within it.
        confidence_interval: The 95% interval of that, (least, greatest).
    """

    norm: str
    eps: float
    accuracy: float
    confidence_interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GalleryExample:
    """An image and its adversarial example, to look at, or one that attacks left.

    Args:
        index: Which of the examples it is: its place in the whole test set.
        row: The number of the result whose attack made it; 0 for one that was left.
        label: Its class.
        before: The class that the model gave it.
        after: The class that the model gives the adversarial example.
        clean: The image, uint8 of shape `(H, W, C)`.
        adversarial: The adversarial example, in the same form; the image itself, of
            one that was left.
        difference: Their difference, in the same form: grey where nothing changed,
            black or white where a feature changed by `scale`.
        scale: The greatest change of a feature, in units of the images.
    """

    index: int
    row: int
    label: int
    before: int
    after: int
    clean: np.ndarray
    adversarial: np.ndarray
    difference: np.ndarray
    scale: float

    @property
    def left(self) -> bool:
        """Whether it is an image that all attacks left right."""
        return self.after == self.label


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RowArrays:
    """What a row did to each of N examples: what its figures are computed from.

    Args:
        attacked: Boolean array of shape `(N,)`: which were attacked.
        reached: Boolean array: on which the attack reached its goal.
        finite: Boolean array: whose logits were finite after it, or not attacked.
        l0: Integers: how many features it changed.
        l2: Floats: how far it went.
        linf: Floats: the greatest change of a feature.
        queries: Integers: how many forward passes it took; 0 of an example that was not
            attacked, and of an attack that counts none.
    """

    attacked: np.ndarray
    reached: np.ndarray
    finite: np.ndarray
    l0: np.ndarray
    l2: np.ndarray
    linf: np.ndarray
    queries: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Which part of an evaluation a report is of, and what `merge` needs of it.

    Args:
        number: Which part it is, from 1 on.
        of: How many parts there are.
        n_whole: Number of examples of the whole test set.
        index: Integers of shape `(N,)`: the places of its examples there.
        batch_size: Most images attacked at once, which decides the parts.
        num_classes: Number of classes of the model.
        fingerprint: A digest of the model, the attacks, the settings and all data.
        finite: Boolean array: whose logits are finite before any attack.
        gradients: Dict of a loss -> how many input gradients through it are exactly 0,
            and how many not finite, of the examples that are right.
        opens: For each row whether it attacked all examples that are right.
        rows: List of `RowArrays`, one for each row.
    """

    number: int
    of: int
    n_whole: int
    index: np.ndarray
    batch_size: int
    num_classes: int
    fingerprint: str
    finite: np.ndarray
    gradients: dict[str, list[int]]
    opens: list[bool]
    rows: list[RowArrays]

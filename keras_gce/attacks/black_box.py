"""Checks without the model's gradient: noise, and another model's examples."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_gce import backend, names
from keras_gce.attacks.ball import TensorSeed, round_down
from keras_gce.attacks.base import Attack
from keras_gce.attacks.batch import choose
from keras_gce.attacks.objectives import margin, succeeds
from keras_gce.attacks.queries import QueryAttack
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import State, Tensor, check_integer, check_shape
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import Bounds

__all__ = ["RandomNoise", "Transfer"]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomNoise(QueryAttack):
    """Random points of the ball: the least that any attack has to beat.

    An example ends at its first success; of the others the point with the greatest
    margin is returned.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        samples: Number of points, >= 1. Defaults to 100.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Carlini et al., "On Evaluating Adversarial Robustness", 2019
        (arXiv 1902.06705), section 4.4.
    """

    samples: int = 100

    norms = names.NORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("samples", self.samples, least=1)

    def counted(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Perturbs checked images; an example ends at success in any case."""
        return self.compiled(
            classifier,
            self._sample,
            batch=(x, y),
            settings={
                "eps": round_down(self.reach),
                "samples": np.int32(self.samples),
                "seed": self.draw_seed(seed),
            },
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns how many forward passes it makes for an image."""
        return float(self.samples)

    def _sample(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        eps: Tensor,
        samples: Tensor,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        sign, geometry = -1.0 if self.targeted else 1.0, self.geometry

        def step(i: Tensor, state: State) -> tuple[State, Tensor]:
            best, used, best_lead, x, y = state
            point = geometry.random_point(x, eps, TensorSeed(seed, i))
            point = geometry.keep(point, x, eps)
            z = classifier.logits(point)
            lead = sign * margin(y, z)
            success = succeeds(y, z, self.targeted)
            better = success | (lead > best_lead)
            best = choose(better, point, best)
            best_lead = ops.where(better, lead, best_lead)
            return (best, used + 1, best_lead, x, y), success

        used = ops.zeros_like(y, dtype="int32")
        state = x, used, ops.zeros_like(y, dtype="float32") - np.inf, x, y
        best, used = backend.while_active(step, state, samples, num_results=2)
        return best, used


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Another model's adversarial examples.

    A model whose gradients are masked often falls to the examples of one trained in the
    plain way: for a model trained with guided complement entropy, its twin trained
    with cross-entropy.

    Args:
        source: The other model, a built `keras.Model` for the same images and classes.
        attack: The attack on it. For the settings not listed here see `Attack`; they
            are the attack's.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
        2018 (arXiv 1802.00420), section 3.1; Papernot et al., "Transferability in
        Machine Learning", 2016 (arXiv 1605.07277).
    """

    source: Any
    attack: Attack

    needs_gradient = False
    ends_at_success = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.attack, Attack):
            raise InputError(
                "`attack` must be an attack of keras_gce.attacks. "
                f"Received: attack={self.attack!r}"
            )
        object.__setattr__(self, "source", Classifier(self.source).model)
        for name in ("bounds", "targeted", "seed", "eps", "norm"):
            object.__setattr__(self, name, getattr(self.attack, name))

    @property
    def name(self) -> str:
        """The attack's name in reports."""
        ensemble = self.attack.ensemble(Classifier(self.source))
        return f"Transfer {ensemble or self.attack.name}"

    def with_bounds(self, bounds: Bounds) -> "Transfer":
        """Returns the same attack within other bounds."""
        return dataclasses.replace(self, attack=self.attack.with_bounds(bounds))

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses what the attack can't run on, on the source."""
        source = Classifier(self.source)
        if source.num_classes != classifier.num_classes:
            raise InputError(
                f"`source` must have the model's {classifier.num_classes} classes. "
                f"Received: {source.name} with {source.num_classes}"
            )
        check_shape(x.shape, source.input_shape)
        self.attack.check(source, x, y)

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images, on the source."""
        source = Classifier(self.source)
        x, y = source.check(x, y, self.bounds)
        # To the end: what just fools the source seldom fools another model.
        return self.attack.run(source, x, y, seed)

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes, of the source."""
        return self.attack.passes(features, num_classes)

"""What adversarial training descends: `Objective`, the protocol, and its cases."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_gce.attacks.base import Attack
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import Tensor, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = ["MART", "TRADES", "Batch", "Mixture", "Objective"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """What `Objective.loss` is given: a batch after its one pass through the model.

    Args:
        y: The labels as `fit` got them, which the compiled loss wants.
        classes: The classes that they name: int32 of shape `(N,)`.
        natural: The model's output, in training mode, for the images as they are.
        adversarial: Its output for the perturbed images.
        compiled_loss: Function of an output: the compiled loss of `y` and that, a
            scalar. Sample weights count.
        mean: Function of one value an example: a scalar, reduced as the compiled loss
            is. Sample weights count.
        log_probabilities: Function of an output: the logarithms of the probabilities
            that it means, whatever the model ends in, float32 of shape `(N, K)`.
    """

    y: Any
    classes: Tensor
    natural: Any
    adversarial: Any
    compiled_loss: Callable[[Any], Tensor]
    mean: Callable[[Tensor], Tensor]
    log_probabilities: Callable[[Any], Tensor]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """Base of what `AdversarialModel` can descend in place of its own loss.

    An objective is its settings: a frozen dataclass. A new one has a `loss`, and
    overrides `prepare` and `labels` where its attack is another one. `labels` and
    `loss` run in compiled code: `keras.ops` alone. Where the class is registered with
    `keras.saving.register_keras_serializable`, the configuration of an
    `AdversarialModel` keeps it.

    Example:

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class LogitPairing(Objective):
    ...     weight: float = 0.5
    ...
    ...     def loss(self, batch):
    ...         apart = ops.square(batch.natural - batch.adversarial)
    ...         paired = batch.mean(ops.mean(apart, axis=-1))
    ...         return batch.compiled_loss(batch.adversarial) + self.weight * paired
    >>> LogitPairing()
    LogitPairing(weight=0.5)
    """

    def prepare(self, attack: Attack) -> Attack:
        """Returns the attack as the objective has it; by default as it is.

        Args:
            attack: The attack that the user gave: FGSM, BIM, PGD or MIM, untargeted.

        Raises:
            InputError: If the objective can't do with that attack.
        """
        return attack

    def labels(self, classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
        """Returns what the attack's loss gets as labels; by default the classes.

        Args:
            classifier: The `Classifier` of the model in training.
            x: The images as they are, float32 of shape `(N, ...)`.
            y: Their classes, int32 of shape `(N,)`.
        """
        return y

    def loss(self, batch: Batch) -> Tensor:
        """Computes what is descended, a scalar.

        What layers and regularizers add to a loss is added to it afterwards.

        Args:
            batch: The labels, the model's outputs, and what is made of them.
        """
        raise NotImplementedError


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class TRADES(Objective):
    """The objective of TRADES, for `AdversarialModel`.

    ```
    loss = L(y, f(x)) + beta * KL(f(x) || f(x_adv))
    ```

    where L is the compiled loss and f the probabilities. The attack ascends the
    divergence from f(x), whatever its own `loss`; it has to start at a random point,
    since the divergence has no gradient at x.

    Example:

    >>> TRADES()
    TRADES(beta=6.0)

    Args:
        beta: Weight of the divergence, >= 0. Defaults to 6.0, as in the paper's
            CIFAR10 experiments.

    Reference:
        Zhang et al., "Theoretically Principled Trade-off between Robustness and
        Accuracy", ICML 2019 (arXiv 1901.08573), Eq. 5. The authors start from normal
        noise of 0.001, `PGD(..., random_start="normal")`, and let batch normalisation
        see natural and adversarial images apart.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        check_number("beta", self.beta, least=0)

    def prepare(self, attack: Any) -> Attack:
        """Returns the attack, ascending the divergence."""
        if not attack.random_start or attack.restarts > 1:
            raise InputError(
                "`attack` must be PGD with random_start=True and restarts=1 for "
                f"TRADES. Received: attack={attack!r}"
            )
        return attack.with_loss(_soft_crossentropy)

    def labels(self, classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
        """Returns f(x), from which the attack departs."""
        return ops.softmax(classifier.logits(x))

    def loss(self, batch: Batch) -> Tensor:
        """Computes the loss above."""
        log_p = batch.log_probabilities
        divergence = _divergence(log_p(batch.natural), log_p(batch.adversarial))
        return batch.compiled_loss(batch.natural) + self.beta * batch.mean(divergence)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class MART(Objective):
    """The objective of MART, for `AdversarialModel`.

    ```
    loss = L(y, f(x_adv)) - log(1 - max_{k != y} f_k(x_adv))
           + beta * KL(f(x) || f(x_adv)) * (1 - f_y(x))
    ```

    where L is the compiled loss, cross-entropy in the paper, and f the probabilities.

    Example:

    >>> MART()
    MART(beta=6.0)

    Args:
        beta: Weight of the divergence, >= 0; the paper's lambda. Defaults to 6.0, as
            in the authors' code.

    Reference:
        Wang et al., "Improving Adversarial Robustness Requires Revisiting
        Misclassified Examples", ICLR 2020, Eq. 11. The authors start the attack from
        normal noise of 0.001, `PGD(..., random_start="normal")`.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        check_number("beta", self.beta, least=0)

    def loss(self, batch: Batch) -> Tensor:
        """Computes the loss above."""
        log_natural = batch.log_probabilities(batch.natural)
        log_adversarial = batch.log_probabilities(batch.adversarial)
        is_true = ops.one_hot(batch.classes, log_natural.shape[-1], dtype="bool")
        wrong = ops.max(ops.where(is_true, -np.inf, log_adversarial), axis=-1)
        # As in the authors' code: finite where the wrong class is certain.
        margin = -ops.log(1.0001 - ops.exp(wrong))
        true = ops.exp(ops.sum(ops.where(is_true, log_natural, 0.0), axis=-1))
        divergence = _divergence(log_natural, log_adversarial) * (1 - true)
        boosted = margin + self.beta * divergence
        return batch.compiled_loss(batch.adversarial) + batch.mean(boosted)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture(Objective):
    """The compiled loss of natural and adversarial examples, weighed.

    Args:
        natural_weight: Weight of the natural examples, in [0, 1].
    """

    natural_weight: float

    def loss(self, batch: Batch) -> Tensor:
        """Computes the mean of the two, with their weights."""
        weight = self.natural_weight
        natural = batch.compiled_loss(batch.natural)
        return weight * natural + (1 - weight) * batch.compiled_loss(batch.adversarial)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each example."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _soft_crossentropy(y: Tensor, logits: Tensor) -> Tensor:
    """KL(y || softmax(logits)) up to a constant: the same gradient."""
    return -ops.sum(y * ops.log_softmax(logits), axis=-1)

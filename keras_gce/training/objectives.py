"""What adversarial training descends: a mixture of losses, TRADES, MART."""

import dataclasses

import numpy as np
from keras import ops

from keras_gce.attacks.base import serializable
from keras_gce.checks import check_number
from keras_gce.errors import InputError

__all__ = ["MART", "TRADES", "Mixture"]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class TRADES:
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
        noise of 0.001 rather than from the whole ball, and let batch normalisation
        see natural and adversarial images apart.
    """

    beta: float = 6.0

    def __post_init__(self):
        check_number("beta", self.beta, least=0)

    def prepare(self, attack):
        """The attack as the objective has it."""
        if not attack.random_start or attack.restarts > 1:
            raise InputError(
                "`attack` must be PGD with random_start=True and restarts=1 for "
                f"TRADES. Received: attack={attack!r}"
            )
        return attack.with_loss(_soft_crossentropy)

    def labels(self, model, x, classes):
        """What the attack gets as labels."""
        return ops.softmax(model.logits(x))

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        divergence = _divergence(log_p(natural), log_p(adversarial))
        return primary(y, natural) + self.beta * mean(divergence)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class MART:
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
        normal noise of 0.001.
    """

    beta: float = 6.0

    def __post_init__(self):
        check_number("beta", self.beta, least=0)

    def prepare(self, attack):
        return attack

    def labels(self, model, x, classes):
        return classes

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        log_natural, log_adversarial = log_p(natural), log_p(adversarial)
        is_true = ops.one_hot(classes, log_natural.shape[-1], dtype="bool")
        wrong = ops.max(ops.where(is_true, -np.inf, log_adversarial), axis=-1)
        # As in the authors' code: finite where the wrong class is certain.
        margin = -ops.log(1.0001 - ops.exp(wrong))
        true = ops.exp(ops.sum(ops.where(is_true, log_natural, 0.0), axis=-1))
        divergence = _divergence(log_natural, log_adversarial) * (1 - true)
        return primary(y, adversarial) + mean(margin + self.beta * divergence)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The compiled loss of natural and adversarial examples."""

    natural_weight: float

    prepare, labels = MART.prepare, MART.labels

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        weight = self.natural_weight
        return weight * primary(y, natural) + (1 - weight) * primary(y, adversarial)


def _divergence(log_p, log_q):
    """KL(p || q) of each example."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _soft_crossentropy(y, logits):
    """KL(y || softmax(logits)) up to a constant: the same gradient."""
    return -ops.sum(y * ops.log_softmax(logits), axis=-1)

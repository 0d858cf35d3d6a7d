"""Signs of gradient masking that the rows of an evaluation already hold."""

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.logits import logits_of
from keras_gce.attacks.objectives import objective
from keras_gce.evaluation.report import Flag

__all__ = ["raise_flags", "zero_gradients"]

GAP = 0.05  # accuracy; the gap between two attacks that is more than their noise
ZERO_GRADIENTS = 0.01  # share of the examples


def zero_gradients(model, x, y):
    """Returns the share of images whose cross-entropy has an input gradient of 0."""

    def is_zero(model, x, y):
        logits, loss = logits_of(model), objective("crossentropy", model)
        gradient, _, _ = backend.gradient_of(lambda v: (loss(y, logits(v)), ()), x)
        axes = tuple(range(1, len(x.shape)))
        return ops.all(ops.equal(gradient, 0.0), axis=axes)

    zero = backend.run_compiled(model, "zero_gradients", is_zero, (x, y), {})
    return float(np.mean(zero))


def raise_flags(results, zero_share):
    """Returns the flags that the rows of a report raise.

    Args:
        results: List of `AttackResult`; rows that attack all examples.
        zero_share: What `zero_gradients` returned, or `None`.

    Returns:
        List of `Flag`.

    Reference:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
        2018 (arXiv 1802.00420), section 3.1; Carlini et al., "On Evaluating
        Adversarial Robustness", 2019 (arXiv 1902.06705), sections 4 and 5.
    """
    flags = []
    if zero_share is not None and zero_share > ZERO_GRADIENTS:
        flags.append(
            Flag(
                "zero_gradients",
                zero_share,
                ZERO_GRADIENTS,
                f"{zero_share:.1%} of the images right before have an input gradient "
                "of exactly 0, so gradient attacks cannot move them: masked gradients. "
                "Look at the margin loss, and run a black-box attack.",
            )
        )
    gradient = [row for row in results if row.loss is not None]
    pairs = [(a, b) for a in gradient for b in gradient if a is not b]
    flags += _worst(
        "training_loss_hides",
        (
            (a, b)
            for a, b in pairs
            if (a.loss, b.loss) == ("training", "crossentropy")
            and _same(a, b, "name", "norm", "eps")
        ),
        lambda a, b: (
            f"{a.name} at eps {a.eps:g} leaves {a.robust_accuracy:.1%} through the "
            f"training loss and {b.robust_accuracy:.1%} through cross-entropy: the "
            "training loss hides the gradient, and its figure is the weakness of the "
            "attack. Quote the adaptive worst case."
        ),
    )
    flags += _worst(
        "one_step_beats_iterative",
        (
            (a, b)
            for a, b in pairs
            if b.name == "FGSM" != a.name and _same(a, b, "loss", "norm", "eps")
        ),
        lambda a, b: (
            f"at eps {a.eps:g} through {a.loss} one step leaves "
            f"{b.robust_accuracy:.1%} and {a.name} {a.robust_accuracy:.1%}: the "
            "iterative attack is stuck, or its steps are too small. Run more steps, "
            "restarts and the margin loss."
        ),
    )
    flags += _worst(
        "larger_eps_is_weaker",
        (
            (a, b)
            for a, b in pairs
            if a.eps > b.eps and _same(a, b, "name", "loss", "norm")
        ),
        lambda a, b: (
            f"{a.name} through {a.loss} leaves {a.robust_accuracy:.1%} at eps "
            f"{a.eps:g} and {b.robust_accuracy:.1%} at {b.eps:g}: the larger ball "
            "holds the smaller, so the attack fails. Run more steps and restarts."
        ),
    )
    return flags


def _same(a, b, *fields):
    return all(getattr(a, field) == getattr(b, field) for field in fields)


def _worst(name, pairs, message):
    """One flag for the pair of rows whose first leaves most above its second."""
    gaps = [(a.robust_accuracy - b.robust_accuracy, a, b) for a, b in pairs]
    if not gaps:
        return []
    gap, a, b = max(gaps, key=lambda item: item[0])
    return [Flag(name, gap, GAP, message(a, b))] if gap > GAP else []

"""What a model answers before the first attack."""

import dataclasses
from typing import Any

import numpy as np

from keras_gce.classifier import Classifier, is_right
from keras_gce.evaluation.gradients import (
    gradient_counts,
    gradient_flags,
    no_gradient_beside,
)
from keras_gce.evaluation.plan import Plan
from keras_gce.evaluation.results import Flag
from keras_gce.evaluation.sanity import is_constant
from keras_gce.progress import bar

__all__ = ["FirstLook", "first_look"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FirstLook:
    """What a model answers before any attack.

    Args:
        plan: The `Plan`, with more rows where no gradient can be had.
        z: The logits, of shape `(N, K)`.
        clean: Boolean array: which examples are right.
        gradients: What `gradient_counts` returned of these.
        checks: List of their `Flag`s.
    """

    plan: Plan
    z: np.ndarray
    clean: np.ndarray
    gradients: dict[str, list[int]]
    checks: list[Flag]


def first_look(
    classifier: Classifier,
    plan: Plan,
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    progress: bool,
    known: tuple[bool, bool] = (False, False),
) -> FirstLook:
    """Returns a `FirstLook`; from then on the classifier knows of gradients of NaN.

    Args:
        classifier: The `Classifier` of the model.
        plan: What is to be run.
        x: Images of shape `(N, ...)`.
        y: Their classes.
        batch_size: Most images predicted at once.
        progress: Whether to show a bar on stderr.
        known: What is known of other images of the same evaluation: whether an input
            gradient is not finite somewhere, and whether none can be had beside such a
            place. Defaults to neither.
    """
    with bar("looking at the gradients", show=progress):
        z = classifier.predict(x, batch_size)
        clean = is_right(z, y)
        gradients = _gradients(classifier, plan, x[clean], y[clean], z)
        checks = gradient_flags(gradients, int(clean.sum()))
    found = any(check.name == "nan_gradients" and check.raised for check in checks)
    classifier.nan_gradients = found or known[0]
    if known[1] or (
        found
        and no_gradient_beside(classifier, x[clean], y[clean], plan.attacks[0].bounds)
    ):
        plan = plan.with_black_boxes()
    return FirstLook(plan=plan, z=z, clean=clean, gradients=gradients, checks=checks)


def _gradients(
    classifier: Classifier, plan: Plan, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> dict[str, list[int]]:
    """Looks at the gradients that a plan's attacks follow; see `gradient_counts`."""
    asking = [attack for attack in plan.attacks if attack.needs_gradient]
    if not asking or is_constant(z):
        return {}
    losses: list[Any] = []
    for attack in asking:
        loss = "crossentropy" if attack.loss is None else attack.loss
        if loss == "training" and classifier.is_crossentropy:
            loss = "crossentropy"
        if loss not in losses:
            losses.append(loss)
    return gradient_counts(classifier, x, y, losses)

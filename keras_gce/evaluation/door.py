"""What an evaluation is of, looked at before any of it is run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.checks import check_integer
from keras_gce.classifier import Classifier
from keras_gce.evaluation.images import data_arrays
from keras_gce.evaluation.plan import Plan, asked, make_plan
from keras_gce.evaluation.record import settings_of
from keras_gce.fingerprint import fingerprint
from keras_gce.per_feature import Bounds

__all__ = ["Task", "at_the_door", "digest_of", "read"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """An evaluation that can run.

    Args:
        classifier: The `Classifier` of the model.
        plan: What is run.
        x: Checked images of shape `(N, ...)`, the whole test set.
        y: Their classes, of shape `(N,)`.
        batch_size: Most images attacked at once.
        data: A digest of images and labels.
    """

    classifier: Classifier
    plan: Plan
    x: np.ndarray
    y: np.ndarray
    batch_size: int
    data: str


def at_the_door(
    model: keras.Model | Classifier,
    data: Any,
    attacks: Attack | Sequence[Attack],
    threat_model: str | None,
    batch_size: int,
    worst_case_only: bool,
    bounds: Bounds | None,
) -> Task:
    """Returns an evaluation, once all of it can run; see `evaluate`.

    Raises:
        InputError: If an argument is not as `evaluate` has it.
    """
    check_integer("batch_size", batch_size, least=1)
    classifier = Classifier.of(model)
    given = asked(attacks, threat_model, bounds)
    x, y = read(classifier, given, data)
    plan = make_plan(given, threat_model, classifier, worst_case_only=worst_case_only)
    for attack in plan.attacks:
        attack.check(classifier, x, y)
    return Task(
        classifier=classifier,
        plan=plan,
        x=x,
        y=y,
        batch_size=int(batch_size),
        data=fingerprint(x, y),
    )


def digest_of(task: Task) -> str:
    """Returns what tells an evaluation from all others, whatever part of it is run."""
    plan = task.plan
    settings = {
        "rows": [[a.name, a.engine, settings_of(a)] for a in plan.attacks],
        "batch_size": task.batch_size,
        "worst_case_only": plan.worst_case_only,
        "threat_model": plan.threat_model,
    }
    return fingerprint(task.data, task.classifier.fingerprint(), settings)


def read(
    classifier: Classifier, attacks: Sequence[Attack], data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of an evaluation; the classifier knows them then.

    Args:
        classifier: The `Classifier` of the model.
        attacks: What `asked` returned.
        data: As for `evaluate`.

    Raises:
        InputError: If images or labels do not fit the model or an attack's bounds.
    """
    all_limits = {attack.bounds for attack in attacks}
    x, y = data_arrays(data, next(iter(all_limits)) if len(all_limits) == 1 else None)
    for limits in all_limits:
        x, labels = classifier.check(x, y, limits)
    return x, labels

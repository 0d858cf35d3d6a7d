"""`evaluate`: attacks on a model, under a named threat model."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier, is_finite
from keras_gce.evaluation.adversarial import adversarial_examples
from keras_gce.evaluation.checkpoint import Checkpoint
from keras_gce.evaluation.diagnostics import diagnose
from keras_gce.evaluation.door import Task, at_the_door, digest_of
from keras_gce.evaluation.flags import row_checks
from keras_gce.evaluation.gallery import gallery
from keras_gce.evaluation.parts import places_of
from keras_gce.evaluation.plan import Plan
from keras_gce.evaluation.record import (
    arrays_of,
    found_examples,
    results_of,
    setup,
    versions,
)
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.results import Flag, Part
from keras_gce.evaluation.run import run_plan
from keras_gce.evaluation.sanity import sanity_checks
from keras_gce.evaluation.start import first_look
from keras_gce.files import PathLike
from keras_gce.per_feature import Bounds
from keras_gce.progress import bar

__all__ = ["evaluate", "evaluated"]


def evaluate(
    model: keras.Model | Classifier,
    data: Any,
    attacks: Attack | Sequence[Attack],
    threat_model: str | None = "adaptive",
    batch_size: int = 500,
    checkpoint: PathLike | None = None,
    progress: bool = True,
    worst_case_only: bool = False,
    diagnostics: bool = True,
    bounds: Bounds | None = None,
    keep_adversarial: bool = False,
    part: tuple[int, int] | None = None,
) -> RobustnessReport:
    """Attacks a model and reports what is left of its accuracy.

    The threat model says which losses each gradient attack ascends:

    - `"paper"`: the loss that the model was trained with (the paper's Eq. 4). A model
      can look robust so only because its own loss is a poor guide for an attack.
    - `"crossentropy"`: cross-entropy on the logits, whatever the training loss.
    - `"adaptive"`: each of cross-entropy, the training loss and the margin loss; an
      example counts as robust only if none of them breaks it.

    JSMA, CarliniWagnerL2, FMN, FAB and the black-box attacks have objectives of their
    own and run once. The first three have no radius: they have rows, but do not count
    in the worst case of the attacks that have one. AutoAttack runs as its authors
    have it, or under another name: its attacks have a row each, and each attacks what
    those before it left right.

    Examples that the model gets wrong from the start are not attacked; one whose logits
    are not finite, before or after an attack, is wrong. Ours leave a gradient attack at
    their first success. Where an input gradient is not finite, attacks take it beside
    that place; where it can't be had there either, Square with 500 queries, which needs
    none, is added to each ball that has no such attack. What is random is decided by
    the attack's seed (0 where it is `None`) and the number of the batch: which
    `batch_size` places of the test set it is of.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> x = np.random.default_rng(0).random((20, 4), "float32")
    >>> y = np.argmax(model.predict(x, verbose=0), -1)
    >>> from keras_gce.attacks import PGD
    >>> report = evaluate(model, (x, y), [PGD(eps=1.0)], "crossentropy", progress=False)
    >>> report.clean_accuracy, len(report.results)
    (1.0, 1)

    Args:
        model: A built `keras.Model`; see `keras_gce.classifier.Classifier`. Where it is
            not compiled with one loss, "adaptive" leaves the training loss out, and the
            report says so.
        data: Images and labels, in the forms that `fit` takes: a pair of arrays, a
            `Split`, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch
            `DataLoader`, or a generator of batches that ends.
            Images of shape `(N, ...)` within the attacks' bounds, by default [0, 1].
        attacks: One attack, or a list of attacks.
        threat_model: Its name, or `None`: each attack keeps its own loss. Defaults to
            `"adaptive"`.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.
        checkpoint: Path of a folder where finished batches are kept; the same call
            continues there. Defaults to `None`.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.
        worst_case_only: Whether each row attacks only what the rows before it left
            right: the worst case is the same and sooner there, but a row's accuracy
            is then that of all rows up to it. Defaults to `False`.
        diagnostics: Whether to look for masked gradients by runs of their own on 100
            images, at the greatest eps of the attacks; see `diagnose`. Defaults to
            `True`.
        bounds: The least and the greatest value of a pixel, such as (0, 255), for all
            attacks of the call, whose eps are in the same unit; a `Split`'s images are
            brought there. Defaults to `None`: each attack's own.
        keep_adversarial: Whether the report keeps what broke each image, in
            `.adversarial`. Defaults to `False`.
        part: (i, n) for the i-th of n parts of `data`, i from 1 to n, on a machine of
            its own: every n-th batch. `merge` makes the whole of the n reports.
            Diagnostics run in part 1 alone. Defaults to `None`: all of `data`.

    Returns:
        A `RobustnessReport`.

    Raises:
        InputError: If an argument is not as described.
    """
    task = at_the_door(
        model, data, attacks, threat_model, batch_size, worst_case_only, bounds
    )
    digest = digest_of(task) if checkpoint or part else ""
    return evaluated(
        task, digest, part, checkpoint, progress, diagnostics, keep_adversarial
    )


def evaluated(
    task: Task,
    digest: str,
    part: tuple[int, int] | None,
    checkpoint: PathLike | None,
    progress: bool,
    diagnostics: bool,
    keep_adversarial: bool,
    known: tuple[bool, bool] = (False, False),
) -> RobustnessReport:
    """Runs an evaluation, or a part of it; see `evaluate`.

    Args:
        task: What it is of.
        digest: What `digest_of` returned of it; only a checkpoint or a part needs it.
        part: (i, n), or `None`.
        checkpoint: Path of a folder, or `None`.
        progress: Whether to show a progress bar on stderr.
        diagnostics: Whether to look for masked gradients by runs of their own.
        keep_adversarial: Whether the report keeps what broke each image.
        known: What is known of the other parts; see `first_look`.
    """
    classifier, plan, x, y = task.classifier, task.plan, task.x, task.y
    batch_size = task.batch_size
    own = places_of(part, len(x), batch_size)
    saved = Checkpoint(checkpoint, digest) if checkpoint else None
    # What is attacked, and counted; attacks know each example by its place in `x`.
    own_x, own_y = x[own], y[own]
    look = first_look(classifier, plan, own_x, own_y, batch_size, progress, known)
    plan, z, clean, checks = look.plan, look.z, look.clean, look.checks
    outcomes = run_plan(
        *(plan, classifier, x, y, _at(own, clean, len(x))),
        *(batch_size, saved, progress, keep_adversarial),
    )

    rows = [arrays_of(outcome, own) for outcome in outcomes]
    row_robust = np.array([outcome.robust[own] for outcome in outcomes])
    results = results_of(plan, outcomes, rows, row_robust, clean)
    is_first = part is None or part[0] == 1
    first = sanity_checks(classifier, own_x, own_y, z, rows, plan, is_first)
    if diagnostics and is_first:
        with bar("looking for masked gradients", show=progress):
            signs = _diagnosed(classifier, own_x, own_y, plan, row_robust)
            checks = _worse(checks, signs)
    opens = [row.opens for row in plan.rows]
    if not plan.worst_case_only:
        checks = row_checks(results, row_robust, clean, opens) + checks
    report = RobustnessReport(
        model=classifier.name,
        threat_model=plan.threat_model,
        results=results,
        clean=clean,
        row_robust=row_robust,
        checks=first + checks,
        skipped=plan.skipped,
        worst_case_only=plan.worst_case_only,
        versions=versions(plan),
        labels=own_y,
        data=task.data[:16],
        setup=setup(),
        adversarial=adversarial_examples(outcomes, results, x, y)
        if keep_adversarial
        else None,
        part=Part(
            number=int(part[0]),
            of=int(part[1]),
            n_whole=len(x),
            index=np.arange(len(x))[own],
            batch_size=batch_size,
            num_classes=classifier.num_classes,
            fingerprint=digest,
            finite=is_finite(z),
            gradients=look.gradients,
            opens=opens,
            rows=rows,
        )
        if part
        else None,
    )
    pictures = gallery(
        found_examples(outcomes),
        x,
        y,
        plan.attacks[0].bounds,
        classifier.data_format,
        left=_at(own, report.robust, len(x)),
    )
    return dataclasses.replace(report, gallery=pictures)


def _at(own: np.ndarray | slice, flags: np.ndarray, count: int) -> np.ndarray:
    """What is true of a part's examples, of all examples: nowhere else."""
    whole = np.zeros(count, bool)
    whole[own] = flags
    return whole


def _diagnosed(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    plan: Plan,
    row_robust: np.ndarray,
) -> list[Flag]:
    """What `diagnose` says of the widest ball, beside what the rows there left."""
    with_radius = [attack for attack in plan.attacks if attack.eps and attack.norm]
    if not with_radius:
        return []
    widest = max(with_radius, key=lambda attack: float(attack.eps or 0.0))
    ball = (widest.eps, widest.norm)
    inside = [(attack.eps, attack.norm) == ball for attack in plan.attacks]
    return diagnose(
        classifier,
        x,
        y,
        widest.eps or 0.0,
        str(widest.norm),
        widest.bounds,
        robust=np.asarray(row_robust[inside].all(axis=0)),
    )


def _worse(checks: Sequence[Flag], signs: Sequence[Flag]) -> list[Flag]:
    """Of checks by the same name, on all examples and on some, the higher figure."""
    by_name = {check.name: check for check in signs}
    for check in checks:
        other = by_name.get(check.name)
        if other is None or check.figure >= other.figure:
            by_name[check.name] = check
    return list(by_name.values())

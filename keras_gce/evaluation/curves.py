"""Accuracy against eps, for each threat model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks import PGD
from keras_gce.attacks.in_ball import LossAttack
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation.images import data_arrays, survivors
from keras_gce.evaluation.own_attack import scaled
from keras_gce.evaluation.results import Curve
from keras_gce.evaluation.threat_models import THREAT_MODELS
from keras_gce.progress import bar

__all__ = ["accuracy_curves"]


def accuracy_curves(
    model: keras.Model | Classifier,
    data: Any,
    eps: Sequence[float],
    attack: LossAttack | None = None,
    batch_size: int = 500,
    progress: bool = True,
) -> list[Curve]:
    """Attacks a model at several radii, under each threat model.

    An example that falls within a ball falls within every larger one, and is not
    attacked there again.

    Args:
        model: A built `keras.Model`; see `keras_gce.classifier.Classifier`. Without a
            training loss it has no curve for the threat model "paper", and for
            "adaptive" the worst of cross-entropy and the margin loss.
        data: Images and labels, as for `evaluate`.
        eps: Radii, each > 0, in units of the images; where the attack's eps is an
            array, of the feature with the greatest one.
        attack: A gradient attack. Defaults to `None`: PGD with 40 steps, seed 0. Its
            step size is scaled with the radius.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.

    Returns:
        List of `Curve`, one for each threat model; each begins at eps 0 with the clean
        accuracy.

    Raises:
        InputError: If an argument is not as described.
    """
    radii = sorted(float(value) for value in eps)
    if not radii or not radii[0] > 0:
        raise InputError(
            f"`eps` must hold at least one radius, each > 0. Received: eps={eps}"
        )
    if attack is None:
        attack = PGD(eps=radii[-1], step_size=radii[-1] / 16, seed=0)
    if attack.loss is None:
        raise InputError(
            f"`attack` must be a gradient attack. Received: attack={attack!r}"
        )
    classifier = Classifier.of(model)
    x, y = classifier.check(*data_arrays(data, attack.bounds), attack.bounds)
    attack.check(classifier, x, y)
    losses = ["crossentropy", "margin"]
    own = "crossentropy" if classifier.is_crossentropy else "training"
    if own == "training" and not classifier.loss_missing:
        losses.insert(1, own)
        classifier.check_loss()
    clean = classifier.right(x, y, batch_size)
    robust = {loss: [clean] for loss in losses}
    total = len(radii) * len(losses)
    with bar("accuracy against eps", total, progress) as advance:
        for radius in radii:
            for loss in losses:
                left = np.flatnonzero(robust[loss][-1])
                right = np.zeros(len(x), bool)
                right[left] = survivors(
                    classifier,
                    x[left],
                    y[left],
                    scaled(attack, radius).with_loss(loss),
                    batch_size,
                )
                robust[loss].append(right)
                done = sum(len(rows) - 1 for rows in robust.values())
                text = f"accuracy against eps, {radius:.3g}"
                advance(1, text, f"{done}/{total} attacks")
    curves = []
    for name, threat_model in THREAT_MODELS.items():
        of_it = {own if loss == "training" else loss for loss in threat_model.losses}
        if name == "paper" and not of_it <= set(losses):
            continue
        rows = [robust[loss] for loss in losses if loss in of_it]
        curves.append(
            Curve(
                threat_model=name,
                attack=attack.name,
                norm=attack.norm,
                eps=[0.0, *radii],
                accuracy=[
                    float(np.all(column, axis=0).mean())
                    for column in zip(*rows, strict=True)
                ],
                n_examples=len(x),
            )
        )
    return curves

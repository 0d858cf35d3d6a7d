"""Signs of gradient masking that take runs of their own to see."""

import dataclasses

import keras
import numpy as np

from keras_gce.checks import check_broadcast
from keras_gce.classifier import Classifier, is_right
from keras_gce.evaluation.answers import TRAMER, answer_checks
from keras_gce.evaluation.gradients import (
    ATHALYE,
    flag_of,
    gradient_checks,
    nan_gradients,
)
from keras_gce.evaluation.images import survivors
from keras_gce.evaluation.own_attack import own_attack
from keras_gce.evaluation.results import Flag
from keras_gce.evaluation.sanity import is_constant
from keras_gce.evaluation.signs import (
    astray,
    black_box_gain,
    end_of,
    gain,
    substitute_gain,
    unbounded,
)
from keras_gce.per_feature import Bounds, Eps, check_bounds, check_radius

__all__ = ["diagnose"]

CARLINI = "Carlini et al. 2019 (arXiv 1902.06705), section 5"
PAPERNOT = "Papernot et al. 2017 (arXiv 1602.02697); Carlini et al. 2019, section 4.4"

EXAMPLES = 100
NOT_RISING = 0.05  # share of the examples
GAIN = 0.05  # accuracy
ASTRAY = 0.25  # share of the examples


def diagnose(
    model: keras.Model | Classifier,
    x: np.ndarray,
    y: np.ndarray,
    eps: Eps,
    norm: str = "linf",
    bounds: Bounds = (0.0, 1.0),
    robust: np.ndarray | None = None,
) -> list[Flag]:
    """Looks for masked gradients, on the first 100 examples that are right.

    Each sign of an attack is looked for through cross-entropy and, where the model was
    compiled with another loss, through that; the worse figure counts. The signs, their
    thresholds and what they say of a zoo of models stand in the guide to the report.

    Args:
        model: A built `keras.Model`; see `keras_gce.classifier.Classifier`.
        x: Images of shape `(N, ...)` within `bounds`, float32.
        y: Their classes, integers of shape `(N,)`.
        eps: Radius of the ball, in units of the images, >= 0; or an array of radii that
            broadcasts to an image.
        norm: `"linf"`, `"l2"`, or `"l1"`, in which Auto-PGD is run for PGD. Defaults to
            `"linf"`.
        bounds: The least and the greatest value of a pixel. Defaults to (0.0, 1.0).
        robust: Boolean array of shape `(N,)`: which images attacks in this ball have
            left. Defaults to `None`: those that PGD leaves here.

    Returns:
        List of `Flag`, one for each sign, raised or not; empty where the model gets no
        example right, or answers the same for all, so that there is nothing to mask.
    """
    classifier = Classifier.of(model)
    eps, bounds = check_radius(eps), check_bounds(bounds)
    x, y = classifier.check(x, y, bounds)
    check_broadcast("eps", eps, x.shape[1:])
    z = classifier.predict(x)
    right = np.flatnonzero(is_right(z, y))[:EXAMPLES]
    if not len(right) or is_constant(z):
        return []
    pool, x, y = x, x[right], y[right]
    losses = ["crossentropy"]
    if not classifier.loss_missing and not classifier.is_crossentropy:
        losses.append("training")
    pgd = own_attack(eps, norm, bounds)
    attacks = {loss: dataclasses.replace(pgd, loss=loss) for loss in losses}
    adaptive = [*attacks.values(), dataclasses.replace(pgd, loss="margin")]
    ends = {loss: end_of(classifier, x, y, pgd) for loss, pgd in attacks.items()}
    zero, nan = gradient_checks(classifier, x, y, losses)
    # Also where PGD has led: at a bound there may be no gradient.
    at_ends = max(end.no_gradient for end in ends.values())
    if nan.value is not None and at_ends > nan.value:
        nan = nan_gradients({"crossentropy": at_ends})
    held = np.all([end.right for end in ends.values()], axis=0)
    # What attacks have left is not what they would leave, had they been any good.
    beyond = held if robust is None else robust[right]
    left = held & beyond
    return [
        zero,
        nan,
        flag_of(
            "loss_does_not_rise",
            {loss: end.stays for loss, end in ends.items()},
            NOT_RISING,
            "On {value:.1%} of the images PGD ends at a {loss} loss not above where it "
            "began: the gradient does not show the way. Run APGD on the margin loss, "
            "and Square.",
            CARLINI,
        ),
        flag_of(
            "unbounded_attack_fails",
            {
                loss: float(survivors(classifier, x, y, unbounded(pgd, x)).mean())
                for loss, pgd in attacks.items()
            },
            1 / z.shape[-1],
            "PGD through {loss} leaves {value:.1%} when it may turn any image into any "
            "other, where at most chance should be left: the attack fails, not the "
            "model holds. Do not quote attacks through that loss.",
            ATHALYE,
        ),
        flag_of(
            "more_steps_gain",
            {
                loss: gain(classifier, x, y, pgd, beyond)
                for loss, pgd in attacks.items()
            },
            GAIN,
            "PGD with 160 steps from three starts breaks {value:.1%} of the images, "
            "through {loss}, that all attacks leave: they had not converged, or are "
            "too weak. Run PGD with the usual steps, more of them, and restarts.",
            CARLINI,
        ),
        flag_of(
            "random_directions_beat_gradient",
            {"": astray(classifier, x, y, pgd)},
            ASTRAY,
            "On {value:.1%} of the images one of four random steps, be they of eps or "
            "of a quarter of it, does more than a step along the gradient: that is not "
            "the gradient of the classes. Run Square with more queries, and transfer "
            "from another model.",
            TRAMER,
        ),
        flag_of(
            "black_box_gains_with_eps",
            {"": black_box_gain(classifier, x, y, adaptive, left)},
            GAIN,
            "Within eps, 2 eps or 4 eps an attack without the gradient breaks "
            "{value:.1%} of the images that PGD leaves: the gradient is masked. Run "
            "Square with more queries, and transfer from another model.",
            ATHALYE,
        ),
        flag_of(
            "substitute_beats_attacks",
            {"": substitute_gain(classifier, x, y, pool, pgd, left)},
            GAIN,
            "A small network trained on the model's own answers breaks {value:.1%} of "
            "the images that all attacks leave: they fail, not the model holds. Run "
            "transfer from a model trained on the same data, and Square with more "
            "queries.",
            PAPERNOT,
        ),
        # Of the same batch: of another one the results may be rounded otherwise.
        *answer_checks(classifier, x, y, classifier.predict(x)),
    ]

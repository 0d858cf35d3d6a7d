"""Signs of gradient masking that take runs of their own to see."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_gce.attacks import PGD
from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier, is_right
from keras_gce.evaluation.gradients import (
    ATHALYE,
    flag_of,
    gradient_checks,
    losses_and_gradients,
    nan_gradients,
)
from keras_gce.evaluation.images import survivors
from keras_gce.evaluation.results import Flag
from keras_gce.evaluation.sanity import is_constant

__all__ = ["diagnose"]

CARLINI = "Carlini et al. 2019 (arXiv 1902.06705), section 5"
TRAMER = "Tramer et al. 2020 (arXiv 2002.08347), section 6"
CROCE = "Croce and Hein 2020 (arXiv 2003.01690), AutoAttack's checks"

EXAMPLES = 100
RANDOMISED = 1e-4  # of logits of length 1
SATURATED = 0.1  # share of the examples
# The softmax of a lead above log(2**24) rounds to 1 in float32.
LEAD = 16.6
STANDING, WITHIN = 0.5, 0.05  # share of the examples; of the median lead
NOT_RISING = 0.05  # share of the examples
GAIN = 0.05  # accuracy


def diagnose(
    model: keras.Model | Classifier,
    x: np.ndarray,
    y: np.ndarray,
    eps: float,
    norm: str = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> list[Flag]:
    """Looks for masked gradients, on the first 100 examples that are right.

    Each sign is looked for through cross-entropy and, where the model was compiled with
    another loss, through that; the worse figure counts.

    Args:
        model: A built `keras.Model`; see `keras_gce.classifier.Classifier`.
        x: Images of shape `(N, ...)` within `bounds`, float32.
        y: Their classes, integers of shape `(N,)`.
        eps: Radius of the ball, in units of the images, >= 0.
        norm: `"linf"` or `"l2"`. Defaults to `"linf"`.
        bounds: The least and the greatest value of a pixel. Defaults to (0.0, 1.0).

    Returns:
        List of `Flag`, one for each sign, raised or not; empty where the model gets no
        example right, or answers the same for all, so that there is nothing to mask.
    """
    classifier = Classifier.of(model)
    x, y = classifier.check(x, y, bounds)
    z = classifier.predict(x)
    right = np.flatnonzero(is_right(z, y))[:EXAMPLES]
    if not len(right) or is_constant(z):
        return []
    x, y = x[right], y[right]
    # Twice the same batch: of another one the results may be rounded otherwise.
    z, again = classifier.predict(x), classifier.predict(x)
    losses = ["crossentropy"]
    if not classifier.loss_missing and not classifier.is_crossentropy:
        losses.append("training")
    pgd = PGD(eps=eps, steps=40, step_size=eps / 16, norm=norm, bounds=bounds, seed=0)
    reach = bounds[1] - bounds[0]
    if norm == "l2":
        reach *= float(np.sqrt(x[0].size))
    ends = {loss: _ends(classifier, x, y, pgd.with_loss(loss)) for loss in losses}
    zero, nan = gradient_checks(classifier, x, y, losses)
    # Also where PGD has led: at a bound there may be no gradient.
    at_ends = max(share for _, share in ends.values())
    if at_ends > (nan.value or 0.0):
        nan = nan_gradients({"crossentropy": at_ends})
    signs = [
        zero,
        nan,
        flag_of(
            "loss_does_not_rise",
            {loss: stays for loss, (stays, _) in ends.items()},
            NOT_RISING,
            "On {value:.1%} of the images PGD ends at a {loss} loss not above where it "
            "began: the gradient does not show the way. Run APGD on the margin loss, "
            "and Square.",
            CARLINI,
        ),
        flag_of(
            "unbounded_attack_fails",
            {
                loss: _left(
                    classifier,
                    x,
                    y,
                    dataclasses.replace(
                        pgd, eps=reach, step_size=reach / 16, loss=loss
                    ),
                )
                for loss in losses
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
                loss: _gain(classifier, x, y, dataclasses.replace(pgd, loss=loss))
                for loss in losses
            },
            GAIN,
            "Four times the steps from three more starts break another {value:.1%} of "
            "the images through {loss}: the attacks had not converged. Run more steps "
            "and restarts.",
            CARLINI,
        ),
        flag_of(
            "randomised_outputs",
            {"": _difference(z, again)},
            RANDOMISED,
            "Two passes over the same images differ by {value:.1g} of the logits: the "
            'model is random. Run AutoAttack(version="rand").',
            CROCE,
        ),
        flag_of(
            "logits_stand_still",
            {"": _standing_still(_top(z))},
            STANDING,
            "On {value:.1%} of the images the greatest logit leads by the same, within "
            "5%: the logits lie on a plateau, where the gradient is not that of the "
            "classes. Run Square with more queries, and transfer from another model.",
            TRAMER,
        ),
        flag_of(
            "softmax_saturates",
            {"": float((_top(z, softmax=True) >= 1.0).mean())},
            SATURATED,
            "On {value:.1%} of the images the softmax rounds to exactly 1, where the "
            "gradient of a loss of probabilities is 0. Attack the logits: margin, DLR.",
            ATHALYE,
        ),
        flag_of(
            "logit_scale",
            {"": float(np.median(_top(z)))},
            LEAD,
            "The greatest logit leads by {value:.1f} in the median, and cross-entropy "
            "rounds to 0 beyond 16.6. Run losses free of scale: DLR, the margin.",
            CROCE,
        ),
    ]
    return signs


def _ends(
    classifier: Classifier, x: np.ndarray, y: np.ndarray, attack: Attack
) -> tuple[float, float]:
    """The shares whose loss has not risen where an attack ends, or has no gradient."""
    x_adv = np.asarray(attack.run(classifier, x, y))
    before, _, _ = losses_and_gradients(classifier, x, y, attack.loss)
    after, _, nan = losses_and_gradients(classifier, x_adv, y, attack.loss)
    # A loss that became NaN or infinite has been led off.
    stays = (after <= before) & np.isfinite(after)
    return (float(stays.mean()) if attack.eps else 0.0), float(nan.mean())


def _left(
    classifier: Classifier, x: np.ndarray, y: np.ndarray, attack: Attack
) -> float:
    return float(survivors(classifier, x, y, attack).mean())


def _gain(classifier: Classifier, x: np.ndarray, y: np.ndarray, attack: PGD) -> float:
    left = survivors(classifier, x, y, attack)
    if not left.any() or not attack.eps:
        return 0.0
    longer = dataclasses.replace(attack, steps=4 * attack.steps, restarts=3, seed=1)
    still = survivors(classifier, x[left], y[left], longer)
    return float((~still).sum() / len(x))


def _difference(z: np.ndarray, again: np.ndarray) -> float:
    z, again = z.astype("float64"), again.astype("float64")
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) + 1e-10 for v in (z, again)]
    return float(np.linalg.norm(z / lengths[0] - again / lengths[1], axis=-1).max())


def _standing_still(leads: np.ndarray) -> float:
    """The share of leads within a few percent of their median."""
    median = np.median(leads)
    return float((np.abs(leads - median) <= WITHIN * median).mean())


def _top(z: np.ndarray, softmax: bool = False) -> np.ndarray:
    if softmax:
        return ops.convert_to_numpy(ops.max(ops.softmax(z), axis=-1))
    two = np.sort(z, axis=-1)[:, -2:]
    return two[:, 1] - two[:, 0]

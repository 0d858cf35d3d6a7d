"""Signs of gradient masking that a model's answers show, without any attack."""

import numpy as np
from keras import ops

from keras_gce.classifier import Classifier
from keras_gce.evaluation.gradients import ATHALYE, flag_of
from keras_gce.evaluation.results import Flag

__all__ = ["CROCE", "TRAMER", "answer_checks", "margins"]

TRAMER = "Tramer et al. 2020 (arXiv 2002.08347), section 6"
CROCE = "Croce and Hein 2020 (arXiv 2003.01690), AutoAttack's checks"

RANDOMISED = 1e-4  # of logits of length 1
# Beside the first: one of several networks, chosen at random, may answer twice.
PASSES = 4
SATURATED = 0.5  # share of the examples
# The softmax of a lead above log(2**24) rounds to 1 in float32.
LEAD = 16.6
STANDING, WITHIN = 0.5, 0.05  # share of the examples; of the median lead
# Of the way from an image to one of another class: the parts it is looked at in, and
# the share of the margin's change that one of them may hold.
PARTS, JUMP = 16, 0.5


def answer_checks(
    classifier: Classifier, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> list[Flag]:
    """Returns the `Flag`s of logits that say little of where the classes end.

    Args:
        classifier: The `Classifier` of the model.
        x: Checked images of shape `(N, ...)`, which the model gets right.
        y: Their classes.
        z: Their logits, of this very batch: of another one they may be rounded
            otherwise.
    """
    signs = [
        flag_of(
            "randomised_outputs",
            {
                "": np.max(
                    [_difference(z, classifier.predict(x)) for _ in range(PASSES)]
                )
            },
            RANDOMISED,
            "Passes over the same images differ by {value:.1g} of the logits: the "
            "model is random, and so is the gradient of one pass. Run attacks with "
            'eot_samples=20, and AutoAttack(version="rand").',
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
    if len(np.unique(y)) > 1:  # Else there is no way to another class.
        signs.append(
            flag_of(
                "logits_jump",
                {"": _jump(classifier, x, y)},
                JUMP,
                "On the way from an image to one of another class {value:.0%} of the "
                "margin's change (in the median) is in one sixteenth: the logits jump "
                "there and say nothing elsewhere, where gradients are taken. Run "
                "Square with more queries, and transfer from another model.",
                TRAMER,
            )
        )
    return signs


def margins(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the best wrong logit minus the true one, float64, of shape `(N,)`."""
    true = np.eye(z.shape[-1], dtype=bool)[y]
    z = z.astype("float64")
    with np.errstate(invalid="ignore"):  # Of infinite logits: NaN, which says so.
        return np.where(true, -np.inf, z).max(-1) - z[true]


def _jump(classifier: Classifier, x: np.ndarray, y: np.ndarray) -> float:
    """The greatest part of the margin's change, on the way to the nearest other one."""
    flat = x.reshape(len(x), -1).astype("float64")
    squares = (flat**2).sum(-1)
    distance = squares[:, None] + squares - 2 * flat @ flat.T
    other = x[np.where(y[:, None] == y, np.inf, distance).argmin(1)]
    shares = np.linspace(0, 1, PARTS + 1, dtype="float32")
    way = [margins(classifier.predict(x + t * (other - x)), y) for t in shares]
    change = np.abs(np.diff(way, axis=0))
    whole = change.sum(0)
    # Where logits are not finite on the way, this can't be told.
    return float(np.median(change.max(0) / np.where(whole > 0, whole, 1.0)))


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

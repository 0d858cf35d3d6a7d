"""Signs of gradient masking that take runs of their own to see."""

import dataclasses

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks import PGD
from keras_gce.attacks.objectives import gradient_of, objective
from keras_gce.classifier import Classifier, batches, is_right
from keras_gce.evaluation.images import survivors
from keras_gce.evaluation.results import Flag
from keras_gce.evaluation.sanity import is_constant

__all__ = ["diagnose", "gradient_checks", "no_gradient_beside"]

ATHALYE = "Athalye et al. 2018 (arXiv 1802.00420), section 3.1"
CARLINI = "Carlini et al. 2019 (arXiv 1902.06705), section 5"
TRAMER = "Tramer et al. 2020 (arXiv 2002.08347), section 6"
CROCE = "Croce and Hein 2020 (arXiv 2003.01690), AutoAttack's checks"

EXAMPLES = 100
BATCH = 500  # images at once
ZERO_GRADIENTS = 0.01  # share of the examples
NAN_GRADIENTS = 0.0  # share of the examples
RANDOMISED = 1e-4  # of logits of length 1
SATURATED = 0.1  # share of the examples
# The softmax of a lead above log(2**24) rounds to 1 in float32.
LEAD = 16.6
STANDING, WITHIN = 0.5, 0.05  # share of the examples; of the median lead
NOT_RISING = 0.05  # share of the examples
GAIN = 0.05  # accuracy


def diagnose(model, x, y, eps, norm="linf", bounds=(0.0, 1.0)):
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
    signs = [
        zero,
        nan if at_ends <= nan.value else _nan({"crossentropy": at_ends}),
        _sign(
            "loss_does_not_rise",
            {loss: stays for loss, (stays, _) in ends.items()},
            NOT_RISING,
            "On {value:.1%} of the images PGD ends at a {loss} loss not above where it "
            "began: the gradient does not show the way. Run APGD on the margin loss, "
            "and Square.",
            CARLINI,
        ),
        _sign(
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
        _sign(
            "more_steps_gain",
            {loss: _gain(classifier, x, y, pgd.with_loss(loss)) for loss in losses},
            GAIN,
            "Four times the steps from three more starts break another {value:.1%} of "
            "the images through {loss}: the attacks had not converged. Run more steps "
            "and restarts.",
            CARLINI,
        ),
        _sign(
            "randomised_outputs",
            {"": _difference(z, again)},
            RANDOMISED,
            "Two passes over the same images differ by {value:.1g} of the logits: the "
            'model is random. Run AutoAttack(version="rand").',
            CROCE,
        ),
        _sign(
            "logits_stand_still",
            {"": _standing_still(_top(z))},
            STANDING,
            "On {value:.1%} of the images the greatest logit leads by the same, within "
            "5%: the logits lie on a plateau, where the gradient is not that of the "
            "classes. Run Square with more queries, and transfer from another model.",
            TRAMER,
        ),
        _sign(
            "softmax_saturates",
            {"": float((_top(z, softmax=True) >= 1.0).mean())},
            SATURATED,
            "On {value:.1%} of the images the softmax rounds to exactly 1, where the "
            "gradient of a loss of probabilities is 0. Attack the logits: margin, DLR.",
            ATHALYE,
        ),
        _sign(
            "logit_scale",
            {"": float(np.median(_top(z)))},
            LEAD,
            "The greatest logit leads by {value:.1f} in the median, and cross-entropy "
            "rounds to 0 beyond 16.6. Run losses free of scale: DLR, the margin.",
            CROCE,
        ),
    ]
    return signs


def gradient_checks(classifier, x, y, losses=("crossentropy",)):
    """Returns the `Flag`s of input gradients that are exactly 0, or not finite."""
    if not len(x):
        return []
    zeros, nans = {}, {}
    for loss in losses:
        _, zero, nan = _values(classifier, x, y, loss)
        label = loss if isinstance(loss, str) else getattr(loss, "__name__", "its loss")
        zeros[label] = max(float(zero.mean()), zeros.get(label, 0.0))
        nans[label] = max(float(nan.mean()), nans.get(label, 0.0))
    return [
        _sign(
            "zero_gradients",
            zeros,
            ZERO_GRADIENTS,
            "{value:.1%} of the images right before have an input gradient of exactly "
            "0 through {loss}, so gradient attacks cannot move them: masked gradients. "
            "Look at the margin loss, and run Square.",
            ATHALYE,
        ),
        _nan(nans),
    ]


def _nan(shares):
    return _sign(
        "nan_gradients",
        shares,
        NAN_GRADIENTS,
        "{value:.1%} of the images right before have an input gradient through {loss} "
        "that is not finite at some pixels: where(), a root or a power passes it on "
        "from a branch not taken. `evaluate` takes the gradient beside those places; "
        "run Square, which needs none.",
        ATHALYE,
    )


def no_gradient_beside(classifier, x, y, bounds):
    """Returns whether gradients are not finite beside such places either.

    Args:
        classifier: The `Classifier` of the model, whose `nan_gradients` is set.
        x: Images of shape `(N, ...)`.
        y: Their classes.
        bounds: The least and the greatest value of a pixel.
    """
    return bool(_values(classifier, x, y, "crossentropy", bounds)[2].any())


def _sign(name, values, threshold, message, reference):
    # What can't be measured is worse than any measure.
    loss = max(values, key=lambda name: np.nan_to_num(values[name], nan=np.inf))
    value = values[loss]
    shown = {"training": "the training loss", "crossentropy": "cross-entropy"}
    text = message.format(value=value, loss=shown.get(loss, loss))
    return Flag(name, value if np.isfinite(value) else None, threshold, text, reference)


def _values(classifier, x, y, loss, bounds=None):
    """Returns each example's loss, and whether its gradient is 0, or not finite.

    With `bounds` the gradient is that of attacks, which look beside such places.
    """

    def run(classifier, x, y):
        fn = objective(loss, classifier)

        def values(v):
            return fn(y, classifier.logits(v)), ()

        if bounds is None:
            gradient, value, _ = backend.gradient_of(values, x)
        else:
            gradient, value, _ = gradient_of(classifier, values, x, bounds)
        axes = tuple(range(1, len(x.shape)))
        zero = ops.all(ops.equal(gradient, 0.0), axis=axes)
        return value, zero, ops.any(~ops.isfinite(gradient), axis=axes)

    key = ("values", classifier.trace_key(loss), bounds)
    parts = [
        backend.run_compiled(classifier, key, run, (x[index], y[index]), {})
        for index in batches(np.arange(len(x)), BATCH)
    ]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _ends(classifier, x, y, attack):
    """The shares whose loss has not risen where an attack ends, or has no gradient."""
    x_adv = np.asarray(attack.run(classifier, x, y))
    before, _, _ = _values(classifier, x, y, attack.loss)
    after, _, nan = _values(classifier, x_adv, y, attack.loss)
    # A loss that became NaN or infinite has been led off.
    stays = (after <= before) & np.isfinite(after)
    return (float(stays.mean()) if attack.eps else 0.0), float(nan.mean())


def _left(classifier, x, y, attack):
    return float(survivors(classifier, x, y, attack).mean())


def _gain(classifier, x, y, attack):
    left = survivors(classifier, x, y, attack)
    if not left.any() or not attack.eps:
        return 0.0
    longer = dataclasses.replace(attack, steps=4 * attack.steps, restarts=3, seed=1)
    still = survivors(classifier, x[left], y[left], longer)
    return float((~still).sum() / len(x))


def _difference(z, again):
    z, again = z.astype("float64"), again.astype("float64")
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) + 1e-10 for v in (z, again)]
    return float(np.linalg.norm(z / lengths[0] - again / lengths[1], axis=-1).max())


def _standing_still(leads):
    """The share of leads within a few percent of their median."""
    median = np.median(leads)
    return float((np.abs(leads - median) <= WITHIN * median).mean())


def _top(z, softmax=False):
    if softmax:
        return ops.convert_to_numpy(ops.max(ops.softmax(z), axis=-1))
    two = np.sort(z, axis=-1)[:, -2:]
    return two[:, 1] - two[:, 0]

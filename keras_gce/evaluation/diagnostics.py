"""Signs of gradient masking that take runs of their own to see."""

import dataclasses

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks import PGD
from keras_gce.attacks.logits import logits_of, predict_logits
from keras_gce.attacks.objectives import is_crossentropy, objective
from keras_gce.evaluation.images import survivors
from keras_gce.evaluation.results import Flag

__all__ = ["diagnose", "zero_gradients"]

ATHALYE = "Athalye et al. 2018 (arXiv 1802.00420), section 3.1"
CARLINI = "Carlini et al. 2019 (arXiv 1902.06705), section 5"
CROCE = "Croce and Hein 2020 (arXiv 2003.01690), AutoAttack's checks"

EXAMPLES = 100
ZERO_GRADIENTS = 0.01  # share of the examples
RANDOMISED = 1e-4  # of logits of length 1
SATURATED = 0.1  # share of the examples
# The softmax of a lead above log(2**24) rounds to 1 in float32.
LEAD = 16.6
NOT_RISING = 0.05  # share of the examples
GAIN = 0.05  # accuracy


def diagnose(model, x, y, eps, norm="linf", bounds=(0.0, 1.0)):
    """Looks for masked gradients, on the first 100 examples that are right.

    Each sign is looked for through cross-entropy and, where the model was compiled with
    another loss, through that; the worse figure counts.

    Args:
        model: A built `keras.Model`; see `keras_gce.attacks.logits_of`.
        x: Images of shape `(N, ...)` within `bounds`, float32.
        y: Their classes, integers of shape `(N,)`.
        eps: Radius of the ball, in units of the images, >= 0.
        norm: `"linf"` or `"l2"`. Defaults to `"linf"`.
        bounds: The least and the greatest value of a pixel. Defaults to (0.0, 1.0).

    Returns:
        List of `Flag`, one for each sign, raised or not; empty where the model gets no
        example right.
    """
    z = predict_logits(model, x)
    right = np.flatnonzero(z.argmax(-1) == y)[:EXAMPLES]
    if not len(right):
        return []
    x, y, z = x[right], y[right], z[right]
    losses = ["crossentropy"]
    if getattr(model, "loss", None) is not None and not is_crossentropy(model):
        losses.append("training")
    pgd = PGD(eps=eps, steps=40, step_size=eps / 16, norm=norm, bounds=bounds, seed=0)
    reach = bounds[1] - bounds[0]
    if norm == "l2":
        reach *= float(np.sqrt(x[0].size))
    signs = [
        zero_gradients(model, x, y, losses),
        _sign(
            "loss_does_not_rise",
            {loss: _not_rising(model, x, y, pgd.with_loss(loss)) for loss in losses},
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
                    model,
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
            {loss: _gain(model, x, y, pgd.with_loss(loss)) for loss in losses},
            GAIN,
            "Four times the steps from three more starts break another {value:.1%} of "
            "the images through {loss}: the attacks had not converged. Run more steps "
            "and restarts.",
            CARLINI,
        ),
        _sign(
            "randomised_outputs",
            {"": _difference(z, predict_logits(model, x))},
            RANDOMISED,
            "Two passes over the same images differ by {value:.1g} of the logits: the "
            'model is random. Run AutoAttack(version="rand").',
            CROCE,
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


def zero_gradients(model, x, y, losses=("crossentropy",)):
    """Returns the `Flag` of input gradients that are exactly 0."""
    y = y[: len(x)]
    return _sign(
        "zero_gradients",
        {loss: float(_values(model, x, y, loss)[1].mean()) for loss in losses},
        ZERO_GRADIENTS,
        "{value:.1%} of the images right before have an input gradient of exactly 0 "
        "through {loss}, so gradient attacks cannot move them: masked gradients. Look "
        "at the margin loss, and run Square.",
        ATHALYE,
    )


def _sign(name, values, threshold, message, reference):
    loss = max(values, key=values.get)
    value = values[loss]
    shown = {"training": "the training loss", "crossentropy": "cross-entropy"}
    text = message.format(value=value, loss=shown.get(loss, loss))
    return Flag(name, value, threshold, text, reference)


def _values(model, x, y, loss):
    """Returns the loss of each example, and whether its input gradient is 0."""

    def run(model, x, y):
        logits, fn = logits_of(model), objective(loss, model)
        gradient, value, _ = backend.gradient_of(lambda v: (fn(y, logits(v)), ()), x)
        axes = tuple(range(1, len(x.shape)))
        return value, ops.all(ops.equal(gradient, 0.0), axis=axes)

    key = ("values", loss, model.loss if loss == "training" else None)
    return tuple(map(np.asarray, backend.run_compiled(model, key, run, (x, y), {})))


def _not_rising(model, x, y, attack):
    x_adv = np.asarray(attack.run(model, x, y))
    before, _ = _values(model, x, y, attack.loss)
    after, _ = _values(model, x_adv, y, attack.loss)
    return float((after <= before).mean()) if attack.eps else 0.0


def _left(model, x, y, attack):
    return float(survivors(model, x, y, attack).mean())


def _gain(model, x, y, attack):
    left = survivors(model, x, y, attack)
    if not left.any() or not attack.eps:
        return 0.0
    longer = dataclasses.replace(attack, steps=4 * attack.steps, restarts=3, seed=1)
    still = survivors(model, x[left], y[left], longer)
    return float((~still).sum() / len(x))


def _difference(z, again):
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) + 1e-10 for v in (z, again)]
    return float(np.linalg.norm(z / lengths[0] - again / lengths[1], axis=-1).max())


def _top(z, softmax=False):
    if softmax:
        return ops.convert_to_numpy(ops.max(ops.softmax(z), axis=-1))
    two = np.sort(z, axis=-1)[:, -2:]
    return two[:, 1] - two[:, 0]

"""Signs of gradient masking that the input gradients show, before any attack."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.geometry import Geometry
from keras_gce.attacks.objectives import gradient_of, objective
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier, batches
from keras_gce.evaluation.record import loss_label
from keras_gce.evaluation.results import Flag, measured
from keras_gce.per_feature import Bounds

__all__ = [
    "ATHALYE",
    "flag_of",
    "gradient_checks",
    "gradient_counts",
    "gradient_flags",
    "losses_and_gradients",
    "nan_gradients",
    "no_gradient_beside",
]

ATHALYE = "Athalye et al. 2018 (arXiv 1802.00420), section 3.1"

BATCH = 500  # images at once
ZERO_GRADIENTS = 0.01  # share of the examples
NAN_GRADIENTS = 0.0  # share of the examples


def gradient_checks(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    losses: Sequence[Any] = ("crossentropy",),
) -> list[Flag]:
    """Returns the `Flag`s of input gradients that are exactly 0, or not finite."""
    return gradient_flags(gradient_counts(classifier, x, y, losses), len(x))


def gradient_counts(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    losses: Sequence[Any],
) -> dict[str, list[int]]:
    """Returns how many input gradients are exactly 0, and how many not finite.

    Returns:
        Dict of a loss -> these two numbers; empty where there are no examples.
    """
    counts: dict[str, list[int]] = {}
    for loss in losses if len(x) else ():
        _, zero, nan = losses_and_gradients(classifier, x, y, loss)
        label = loss_label(loss)
        before = counts.get(label, [0, 0])
        counts[label] = [
            max(int(zero.sum()), before[0]),
            max(int(nan.sum()), before[1]),
        ]
    return counts


def gradient_flags(counts: dict[str, list[int]], n: int) -> list[Flag]:
    """Returns the `Flag`s of input gradients that were counted.

    Args:
        counts: What `gradient_counts` returned.
        n: The number of examples.
    """
    if not counts:
        return []
    return [
        flag_of(
            "zero_gradients",
            {loss: zero / n for loss, (zero, _) in counts.items()},
            ZERO_GRADIENTS,
            "{value:.1%} of the images right before have an input gradient of exactly "
            "0 through {loss}, so gradient attacks cannot move them: masked gradients. "
            "Look at the margin loss, and run Square.",
            ATHALYE,
        ),
        nan_gradients({loss: nan / n for loss, (_, nan) in counts.items()}),
    ]


def nan_gradients(shares: dict[str, float]) -> Flag:
    """Returns the `Flag` of gradients that are not finite.

    Args:
        shares: Dict of a loss -> the share of the examples with such a gradient.
    """
    return flag_of(
        "nan_gradients",
        shares,
        NAN_GRADIENTS,
        "{value:.1%} of the images right before have an input gradient through {loss} "
        "that is not finite at some pixels: where(), a root or a power passes it on "
        "from a branch not taken. `evaluate` takes the gradient beside those places; "
        "run Square, which needs none.",
        ATHALYE,
    )


def no_gradient_beside(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    bounds: Bounds,
) -> bool:
    """Returns whether gradients are not finite beside such places either.

    Args:
        classifier: The `Classifier` of the model, whose `nan_gradients` is set.
        x: Images of shape `(N, ...)`.
        y: Their classes.
        bounds: The least and the greatest value of a pixel.
    """
    return bool(losses_and_gradients(classifier, x, y, "crossentropy", bounds)[2].any())


def losses_and_gradients(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    loss: Any,
    bounds: Bounds | None = None,
) -> tuple[np.ndarray, ...]:
    """Returns each example's loss, and whether its gradient is 0, or not finite.

    With `bounds` the gradient is that of attacks, which look beside such places.
    """

    def run(classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        fn = objective(loss, classifier)

        def values(v: Tensor) -> tuple[Tensor, tuple[()]]:
            return fn(y, classifier.logits(v)), ()

        if bounds is None:
            gradient, value, _ = backend.gradient_of(values, x)
        else:
            gradient, value, _ = gradient_of(
                classifier, values, x, Geometry("linf", bounds).bounds
            )
        axes = tuple(range(1, len(x.shape)))
        zero = ops.all(ops.equal(gradient, 0.0), axis=axes)
        return value, zero, ops.any(~ops.isfinite(gradient), axis=axes)

    key = ("values", classifier.trace_key(loss), bounds)
    parts = [
        backend.run_compiled(classifier, key, run, (x[index], y[index]), {})
        for index in batches(np.arange(len(x)), BATCH)
    ]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def flag_of(
    name: str,
    values: dict[str, float],
    threshold: float,
    message: str,
    reference: str,
) -> Flag:
    """Returns the `Flag` of the loss through which a sign is seen best.

    Args:
        name: The sign.
        values: Dict of a loss -> what was measured through it.
        threshold: The value above which the flag is raised.
        message: Its text, with `{value}` and `{loss}` in it.
        reference: Where the sign is described.
    """
    # What can't be measured is worse than any measure.
    loss = max(values, key=lambda name: np.nan_to_num(values[name], nan=np.inf))
    value = values[loss]
    shown = {"training": "the training loss", "crossentropy": "cross-entropy"}
    text = message.format(value=value, loss=shown.get(loss, loss))
    return measured(name, value, threshold, text, reference)

"""What an attack ascends: losses of labels and logits, one value an example."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.averaging import averaged
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

__all__ = [
    "NAMES",
    "check_loss",
    "gradient_of",
    "objective",
    "off_the_spot",
    "rounding",
    "succeeds",
]

# How far beside a place without a gradient one is looked for: a share of the range.
BESIDE = 1e-4


def crossentropy(y: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy on the logits."""
    return ops.sparse_categorical_crossentropy(y, logits, from_logits=True)


def margin(y: Tensor, logits: Tensor) -> Tensor:
    """The best wrong logit minus the true one: positive exactly where it is wrong.

    Reference:
        Carlini and Wagner 2017 (arXiv 1608.04644), section V, f_6 without its clamp.
    """
    is_true = ops.one_hot(y, logits.shape[-1], dtype="bool")
    wrong = ops.max(ops.where(is_true, -1e30, logits), axis=-1)
    return wrong - of_class(y, logits)


def succeeds(y: Tensor, logits: Tensor, targeted: bool = False) -> Tensor:
    """Returns where an attack has reached its goal: another class, or its target `y`.

    Logits that are not finite are no answer: right they never are, and never a target.
    The lead has to be more than rounding, since what is won by a rounding error may be
    lost again where the images are looked at in another batch.
    """
    lead, clear = margin(y, logits), rounding(y, logits)
    finite = ops.all(ops.isfinite(logits), axis=-1)
    if targeted:
        return finite & (-lead > clear)
    return (lead > clear) | ~finite


def rounding(y: Tensor, logits: Tensor) -> Tensor:
    """Returns what of a lead may be rounding, by the size of the logits compared.

    Of no others: a class that is masked by a logit of -1e9 says nothing of that.
    """
    true = of_class(y, logits)
    return 1e-5 * ops.maximum(ops.abs(true), ops.abs(true + margin(y, logits)))


def dlr(y: Tensor, logits: Tensor) -> Tensor:
    """The difference of logits ratio: the margin, free of the logits' scale.

    Reference:
        Croce and Hein 2020 (arXiv 2003.01690), Eq. 6.
    """
    top = ops.top_k(logits, 3)[0]
    return margin(y, logits) / _or_one(top[:, 0] - top[:, 2])


def targeted_dlr(y: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """The difference of logits ratio towards a target class.

    Reference:
        Croce and Hein 2020 (arXiv 2003.01690), Eq. 7.
    """
    top = ops.top_k(logits, 4)[0]
    span = _or_one(top[:, 0] - (top[:, 2] + top[:, 3]) / 2)
    return targeted_margin(y, target, logits) / span


def targeted_margin(y: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """The target's logit minus the true one."""
    return of_class(target, logits) - of_class(y, logits)


def _or_one(span: Tensor) -> Tensor:
    # Not a small number more: the ratio would know the scale of tiny logits.
    return ops.where(span > 0, span, 1.0)


def of_class(y: Tensor, logits: Tensor) -> Tensor:
    """Returns the logit of the class y."""
    is_class = ops.one_hot(y, logits.shape[-1], dtype="bool")
    return ops.sum(ops.where(is_class, logits, 0.0), axis=-1)


def likeliest_wrong(y: Tensor, logits: Tensor, count: int) -> Tensor:
    """Returns so many classes beside y, of shape (N, count), the likeliest first."""
    is_true = ops.one_hot(y, logits.shape[-1], dtype="bool")
    return ops.top_k(ops.where(is_true, -np.inf, logits), count)[1]


_LOSSES = {"crossentropy": crossentropy, "margin": margin, "dlr": dlr}
NAMES = (*_LOSSES, "training")


def check_loss(loss: Any) -> None:
    """Refuses what is neither the name of a loss nor a callable."""
    if not callable(loss) and loss not in NAMES:
        raise InputError(
            f"`loss` must be one of {', '.join(NAMES)}, or a callable "
            f"(y, logits) -> one value an example. Received: loss={loss!r}"
        )


def objective(
    loss: Any, model: keras.Model | Classifier
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns `loss` as a function (y, logits) -> values of shape (N,).

    Args:
        loss: A name of `NAMES`, or a callable.
        model: The model, or its `Classifier`, for `"training"`.
    """
    if isinstance(loss, str):
        fn = Classifier.of(model).loss if loss == "training" else _LOSSES[loss]
    else:
        fn = loss

    def values(y: Tensor, logits: Tensor) -> Tensor:
        value = ops.cast(fn(y, logits), "float32")
        while len(value.shape) > 1:
            value = ops.mean(value, axis=-1)
        # A loss that has averaged already still says where it grows.
        return value if value.shape else value + ops.zeros_like(logits[:, 0])

    return values


def off_the_spot(
    x: Tensor, gradient: Tensor, bounds: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Returns images a little further inside where their gradient is not finite.

    There a feature would stand still for all steps; from beside it the next one sees
    where to go. The gradient is returned too, finite: NaN as 0.
    """
    low, high = bounds

    def moved() -> tuple[Tensor, Tensor]:
        images = ops.where(ops.isfinite(gradient), x, _inside(x, low, high))
        return images, ops.nan_to_num(gradient)

    # One sum says whether there is any such place: a look at each takes longer.
    return ops.cond(ops.isfinite(ops.sum(gradient)), lambda: (x, gradient), moved)


def _inside(x: Tensor, low: float, high: float) -> Tensor:
    step = BESIDE * (high - low)
    return x + ops.where(x < (low + high) / 2, step, -step)


def gradient_of(
    classifier: Classifier,
    fn: Callable[[Tensor], tuple[Any, Any]],
    x: Tensor,
    bounds: tuple[float, float] | None = None,
    samples: Tensor | None = None,
) -> tuple[Any, Any, Any]:
    """Computes gradients as `backend.gradient_of`, also where they are NaN or random.

    All that is returned is the mean of so many passes. Of a model whose gradient is
    known to be NaN somewhere (`where` passes NaN from the branch not taken), the
    missing features get the gradient of a point a little further inside.

    Args:
        classifier: The `Classifier` of the model.
        fn: As for `backend.gradient_of`.
        x: Tensor of shape `(N, ...)`.
        bounds: The least and the greatest value of a pixel; `None`: of no limit.
        samples: Number of passes, an integer tensor; `None`: one.
    """
    return averaged(lambda: _one_gradient(classifier, fn, x, bounds), samples)


def _one_gradient(
    classifier: Classifier,
    fn: Callable[[Tensor], tuple[Any, Any]],
    x: Tensor,
    bounds: tuple[float, float] | None,
) -> tuple[Any, Any, Any]:
    results = backend.gradient_of(fn, x)
    if not classifier.nan_gradients:
        return results
    gradients = results[0] if isinstance(results[0], tuple) else (results[0],)
    low, high = bounds or (-1.0, 1.0)
    missing = [~ops.isfinite(gradient) for gradient in gradients]
    anywhere = missing[0]
    for one in missing[1:]:
        anywhere = anywhere | one
    inside = ops.where(anywhere, _inside(x, low, high), x)
    beside = backend.gradient_of(fn, inside)[0]
    beside = beside if isinstance(beside, tuple) else (beside,)
    gradients = tuple(
        ops.where(nan, other, gradient)
        for nan, other, gradient in zip(missing, beside, gradients, strict=True)
    )
    found = gradients if isinstance(results[0], tuple) else gradients[0]
    return found, *results[1:]

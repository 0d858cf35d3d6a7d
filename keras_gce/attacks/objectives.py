"""What an attack ascends: losses of labels and logits, one value an example."""

import functools
import inspect

import keras
from keras import ops

from keras_gce.attacks.logits import ends_in_softmax
from keras_gce.errors import InputError

__all__ = ["NAMES", "check_loss", "objective"]


def crossentropy(y, logits):
    """Cross-entropy on the logits."""
    return ops.sparse_categorical_crossentropy(y, logits, from_logits=True)


def margin(y, logits):
    """The best wrong logit minus the true one: positive exactly where it is wrong.

    Reference:
        Carlini and Wagner 2017 (arXiv 1608.04644), section V, f_6 without its clamp.
    """
    is_true = ops.one_hot(y, logits.shape[-1], dtype="bool")
    wrong = ops.max(ops.where(is_true, -1e30, logits), axis=-1)
    return wrong - of_class(y, logits)


def clearly_above_0(lead, logits):
    """Returns where a lead among logits is above 0 by more than rounding.

    What is won by a rounding error may be lost again where the images are looked at in
    another batch.
    """
    return lead > 1e-5 * ops.max(ops.abs(logits), axis=-1)


def dlr(y, logits):
    """The difference of logits ratio: the margin, free of the logits' scale.

    Reference:
        Croce and Hein 2020 (arXiv 2003.01690), Eq. 6.
    """
    if logits.shape[-1] < 3:
        raise InputError(
            '`loss="dlr"` must have a model of at least 3 classes. '
            f"Received: {logits.shape[-1]} classes"
        )
    top = ops.top_k(logits, 3)[0]
    return margin(y, logits) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(y, target, logits):
    """The difference of logits ratio towards a target class.

    Reference:
        Croce and Hein 2020 (arXiv 2003.01690), Eq. 7.
    """
    top = ops.top_k(logits, 4)[0]
    lead = of_class(target, logits) - of_class(y, logits)
    return lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def of_class(y, logits):
    """Returns the logit of the class y."""
    is_class = ops.one_hot(y, logits.shape[-1], dtype="bool")
    return ops.sum(ops.where(is_class, logits, 0.0), axis=-1)


_LOSSES = {"crossentropy": crossentropy, "margin": margin, "dlr": dlr}
NAMES = (*_LOSSES, "training")


def check_loss(loss):
    """Refuses what is neither the name of a loss nor a callable."""
    if not callable(loss) and loss not in NAMES:
        raise InputError(
            f"`loss` must be one of {', '.join(NAMES)}, or a callable "
            f"(y, logits) -> one value an example. Received: loss={loss!r}"
        )


def objective(loss, model):
    """Returns `loss` as a function (y, logits) -> values of shape (N,)."""
    fn = training_loss(model) if loss == "training" else _LOSSES.get(loss, loss)

    def values(y, logits):
        value = ops.cast(fn(y, logits), "float32")
        while len(value.shape) > 1:
            value = ops.mean(value, axis=-1)
        # A loss that has averaged already still says where it grows.
        return value if value.shape else value + ops.zeros_like(logits[:, 0])

    return values


def is_crossentropy(model):
    """Returns whether `model` was compiled with one of Keras's cross-entropies."""
    name = _name_of(getattr(model, "loss", None))
    return name in ("sparsecategoricalcrossentropy", "categoricalcrossentropy")


def training_loss(model):
    """Returns the loss that `model` was compiled with, as a function of the logits.

    Where the model ends in softmax and the loss can take logits, it gets them: the
    same function, without the flat places that rounding to probabilities makes.
    """
    loss = getattr(model, "loss", None)
    if loss is None or isinstance(loss, (list, tuple, dict)):
        raise InputError(
            '`model` must be compiled with one loss for `loss="training"`. '
            f"Received: model={model.name} with loss={loss!r}"
        )
    name = _name_of(loss)
    fn = keras.losses.get(loss)
    softmax = ends_in_softmax(model)
    if isinstance(fn, keras.losses.Loss):
        config = fn.get_config()
        if softmax and config.get("from_logits") is False:
            fn = type(fn).from_config({**config, "from_logits": True})
            softmax = False
        fn = fn.call
    elif softmax and "from_logits" in inspect.signature(fn).parameters:
        fn = functools.partial(fn, from_logits=True)
        softmax = False
    one_hot = name == "categoricalcrossentropy" or name.startswith("categorical")

    def values(y, logits):
        if one_hot:
            y = ops.one_hot(y, logits.shape[-1])
        return fn(y, ops.softmax(logits) if softmax else logits)

    return values


def _name_of(loss):
    if not isinstance(loss, str):
        loss = getattr(loss, "__name__", type(loss).__name__)
    return loss.replace("_", "").lower()

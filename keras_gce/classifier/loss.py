"""The loss that a Keras model was compiled with, as a function of logits."""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce.checks import Tensor
from keras_gce.errors import InputError, one_line
from keras_gce.fingerprint import library_of

__all__ = ["Identity", "TrainingLoss"]

# Settings with which a cross-entropy of Keras is cross-entropy and nothing else.
PLAIN = {"label_smoothing": 0.0, "ignore_class": None, "axis": -1}


class TrainingLoss:
    """A compiled loss, for a model of so many outputs.

    Args:
        loss: What `model.loss` holds: a `keras.losses.Loss`, a name, a function, or a
            list or dict of one of them; `None` where the model is not compiled.
        from_logits: Whether the model's own output is logits.
    """

    def __init__(self, loss: Any, from_logits: bool) -> None:
        if isinstance(loss, dict):
            loss = list(loss.values())
        if isinstance(loss, (list, tuple)):
            given = [one for one in loss if one is not None]
            loss = given[0] if len(given) == 1 else (given or None)
        self.loss = loss
        self.from_logits = from_logits
        self._values: dict[tuple[bool, bool], Callable[[Tensor, Tensor], Tensor]] = {}

    @property
    def missing(self) -> str | None:
        """Why there is no training loss, in words; `None` where there is one."""
        if self.loss is None:
            return "the model is not compiled with a loss"
        if isinstance(self.loss, list):
            return f"the model is compiled with {len(self.loss)} losses"
        return None

    @functools.cached_property
    def key(self) -> Hashable:
        """What tells the loss from another one in this process; hashable."""
        return self.loss if isinstance(self.loss, str) else Identity(self.loss)

    @functools.cached_property
    def resolved(self) -> Callable[..., Tensor]:
        """The loss, a name among Keras's looked up."""
        if self.missing:
            raise InputError(
                '`model` must be compiled with one loss for `loss="training"`. '
                f"Received: loss={self.loss!r}"
            )
        return keras.losses.get(self.loss)

    def values(
        self, one_output: bool, one_hot: bool
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns the loss as a function (y, logits), for logits of shape `(N, K)`.

        Where the model ends in softmax and the loss can take logits, it gets them: the
        same function, without the flat places that rounding to probabilities makes.

        Args:
            one_output: Whether the model has one output for its two classes.
            one_hot: Whether the labels that the user has are one-hot, which decides
                for a loss of the user's own.
        """
        key = (one_output, one_hot)
        if key not in self._values:
            self._values[key] = self._values_for(one_output, one_hot)
        return self._values[key]

    def _values_for(
        self, one_output: bool, one_hot: bool
    ) -> Callable[[Tensor, Tensor], Tensor]:
        fn, takes_logits = _of_logits(self.resolved, self.from_logits)
        one_hot = _takes_one_hot(self.resolved, one_hot)

        def values(y: Tensor, logits: Tensor) -> Tensor:
            if one_output:
                z = logits[:, 1:] - logits[:, :1]
                y = ops.cast(y, "float32")[:, None]
                return fn(y, z if takes_logits else ops.sigmoid(z))
            if one_hot:
                y = ops.one_hot(y, logits.shape[-1])
            return fn(y, logits if takes_logits else ops.softmax(logits))

        return values

    def check(self, one_output: bool, one_hot: bool, num_classes: int) -> None:
        """Refuses a loss that can't be had for this many classes."""
        z = ops.convert_to_tensor(np.eye(num_classes, dtype="float32")[:2])
        y = ops.convert_to_tensor(np.array([0, 1], "int32"))
        values = self.values(one_output, one_hot)  # Where there is none, this says so.
        try:
            values(y, z)
        except Exception as error:  # Whatever a user's function raises.
            raise InputError(
                "`model` must be compiled with a loss that takes its "
                f"{num_classes} classes. Received: {one_line(error)}"
            ) from error

    def is_crossentropy(self, one_output: bool | None) -> bool:
        """Whether it is cross-entropy on the logits, and nothing else.

        Args:
            one_output: Whether the model has one output for its two classes; `None`:
                not known yet.
        """
        if self.missing:
            return False
        fn = self.resolved
        kinds: tuple[Any, ...] = ()
        if one_output is not False:
            kinds = (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy)
        if not one_output:
            kinds += (
                keras.losses.SparseCategoricalCrossentropy,
                keras.losses.CategoricalCrossentropy,
                keras.losses.sparse_categorical_crossentropy,
                keras.losses.categorical_crossentropy,
            )
        config = config_of(fn)
        return (
            (type(fn) in kinds or fn in kinds)
            and bool(config.get("from_logits", False)) == self.from_logits
            and all(config.get(name, value) == value for name, value in PLAIN.items())
        )

    @property
    def wants_logits(self) -> bool | None:
        """Whether it says that it takes logits; `None` where it says nothing."""
        if self.missing:
            return None
        fn = self.resolved
        if isinstance(fn, keras.losses.Loss):
            return config_of(fn).get("from_logits")
        parameter = inspect.signature(fn).parameters.get("from_logits")
        return None if parameter is None else bool(parameter.default)


class Identity:
    """A hashable stand-in for an object that need not be hashable; equal to its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def config_of(fn: Callable[..., Tensor]) -> dict[str, Any]:
    """Returns the configuration of a loss; none of a function."""
    return fn.get_config() if isinstance(fn, keras.losses.Loss) else {}


def _of_logits(
    fn: Callable[..., Tensor], from_logits: bool
) -> tuple[Callable[..., Tensor], bool]:
    """Returns a loss as a function, and whether that takes the logits."""
    if isinstance(fn, keras.losses.Loss):
        config = config_of(fn)
        if not from_logits and config.get("from_logits") is False:
            return type(fn).from_config({**config, "from_logits": True}).call, True
        return fn.call, from_logits
    if not from_logits and "from_logits" in inspect.signature(fn).parameters:
        return functools.partial(fn, from_logits=True), True
    return fn, from_logits


def _takes_one_hot(fn: Callable[..., Tensor], otherwise: bool) -> bool:
    """Whether a loss wants one-hot labels; of a user's own only the labels can tell."""
    classes = type(fn).__mro__ if isinstance(fn, keras.losses.Loss) else (fn,)
    own = next((c for c in classes if library_of(c) in ("keras", "keras_gce")), None)
    # An object that is called has none.
    name = getattr(own, "__name__", "")
    if own is None or name in ("Loss", "LossFunctionWrapper"):
        return otherwise
    return library_of(own) == "keras" and not name.lower().startswith("sparse")

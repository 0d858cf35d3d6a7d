"""What an operation of a model does, such as a softmax: tried, not named."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.classifier.predictions import softmax
from keras_gce.fingerprint import library_of

__all__ = [
    "activation_of",
    "behaviour",
    "function_of",
    "has_variables",
    "of_keras",
    "without_activation",
]

# Room for the rounding of a bfloat16 policy.
CLOSE = 2e-2


def of_keras(value: Any) -> bool:
    """Whether a class or a function is Keras's own."""
    return library_of(value) == "keras"


def has_variables(operation: keras.Operation) -> bool:
    """Whether an operation has variables, which one that is no layer has not."""
    return isinstance(operation, keras.layers.Layer) and bool(operation.variables)


def activation_of(layer: Any) -> Callable[..., Any] | None:
    """Returns the activation that a layer has; `None` of one without."""
    # Keras has no class for the layers with one.
    return getattr(layer, "activation", None)


def function_of(operation: keras.Operation) -> Callable[..., Any] | None:
    """Returns what an operation does last, if that is a function without weights."""
    if isinstance(operation, keras.layers.RNN):
        return None  # Its activation is not its end.
    function = activation_of(operation)
    if function is None and not has_variables(operation):
        return operation
    return function


def behaviour(
    function: Callable[..., Any] | None, shape: tuple[int | None, ...], one: bool
) -> str | None:
    """Returns what a function without weights does to its input, in a word.

    A softmax is one whatever library it comes from.

    Args:
        function: The function, or an operation without weights; `None`: none is known.
        shape: The shape of its input, `None` where a size is open.
        one: Whether the model has one output for its two classes.

    Returns:
        `"linear"`, `"softmax"`, `"sigmoid"`, `"sigmoids"` (of several outputs),
        `"relu"`, or `"other"` for another activation; `None`: anything else.
    """
    if function is None:
        return None
    if function is keras.activations.linear:
        return "linear"
    sizes = [2, *(2 if size is None else size for size in shape[1:])]
    v = np.random.default_rng(0).uniform(-3, 3, sizes).astype("float32")
    try:
        # A train step may be what looks first.
        with backend.eagerly():
            value = ops.convert_to_numpy(function(ops.convert_to_tensor(v)))
    except Exception:  # It takes something else, whatever that is.
        return None
    if value.shape != v.shape:
        return None
    value = value.astype("float32")

    def same(other: np.ndarray) -> bool:
        return np.allclose(value, other, atol=CLOSE)

    if same(v):
        return "linear"
    if not one and same(softmax(v)):
        return "softmax"
    if not one and same(np.log(softmax(v))):
        return None if isinstance(function, keras.Operation) else "linear"
    if same(1 / (1 + np.exp(-v))):
        return "sigmoid" if one else "sigmoids"
    if same(np.maximum(v, 0)):
        return "relu"
    return "other" if not isinstance(function, keras.Operation) else None


def without_activation(operation: keras.Operation) -> keras.Operation | None:
    """Returns an operation without its activation; `None` where nothing is left.

    Whatever else its call does (LoRA, quantisation, mixed precision) is kept, and so
    are its weights, which the twin shares. The layer itself is not touched, not even
    for a moment: another thread may be using it.
    """
    if not has_variables(operation):
        return None
    twin = object.__new__(type(operation))
    vars(twin).update(vars(operation))
    # Not by `setattr`, which would register a layer with what both share.
    vars(twin)["activation"] = keras.activations.linear
    return twin

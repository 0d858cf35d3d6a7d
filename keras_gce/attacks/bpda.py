"""`straight_through`: a step without a gradient, which lets the next one's pass."""

import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.checks import Tensor
from keras_gce.errors import InputError

__all__ = ["StraightThrough", "straight_through"]


def straight_through(
    forward: Callable[[Any], Any], in_numpy: bool = False
) -> "StraightThrough":
    """Returns a layer that computes `forward` and lets the gradient pass as it is.

    For a defence that has no gradient, or a useless one, and leaves images much as they
    are: reduced bit depth, JPEG, a denoiser. The model with this layer in its place
    answers as the defended one does, to the bit, and can be attacked: backward pass
    differentiable approximation (BPDA), with the identity.

    Example:

    >>> layer = straight_through(lambda x: ops.round(x * 7) / 7)
    >>> network = keras.layers.Dense(2)
    >>> model = keras.Sequential([keras.Input((4,)), layer, network])
    >>> model(np.full((1, 4), 0.5, "float32")).shape
    TensorShape([1, 2])

    Args:
        forward: A Keras layer or model, or a callable written on `keras.ops`: a batch
            of images -> a batch of the same shape. Nothing is learned through it. To
            save the model, a function has to be registered with
            `keras.saving.register_keras_serializable`.
        in_numpy: Whether `forward` takes and returns NumPy arrays, as what calls
            another library does (JPEG by Pillow). It then runs on the host; under JAX
            it has to give the same for the same. Defaults to `False`.

    Raises:
        InputError: If `forward` is not as described; from a call, if it returns another
            shape.

    Reference:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML 2018
        (arXiv 1802.00420), section 4.1.
    """
    return StraightThrough(forward, in_numpy=in_numpy)


@keras.saving.register_keras_serializable(package="keras_gce")
class StraightThrough(keras.layers.Layer):
    """The layer of `straight_through`.

    Args:
        function: What it computes: the `forward` of `straight_through`.
        in_numpy: As for `straight_through`.
        **kwargs: Those of a Keras layer.
    """

    # By the name that a Lambda layer has for its own: fingerprints have its code.
    def __init__(
        self, function: Callable[[Any], Any], in_numpy: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        is_layer = isinstance(function, keras.layers.Layer)
        if not callable(function) or (is_layer and in_numpy):
            wanted = "a function of NumPy arrays" if in_numpy else "a layer or callable"
            raise InputError(
                f"`forward` must be {wanted}. Received: forward={function!r}"
            )
        self.function = function
        self.in_numpy = in_numpy

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layer that it computes, if it is one."""
        is_layer = isinstance(self.function, keras.layers.Layer)
        return [self.function] if is_layer else []

    def build(self, input_shape: Any) -> None:
        """Builds the layer inside."""
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Computes the function; its gradient is that of the identity."""
        still = ops.stop_gradient(x)
        if self.in_numpy:
            y = backend.numpy_function(self._of_arrays, still)
        else:
            y = self.function(still)
        self._check(y.shape, x.shape)
        # x less itself: nothing is added, and the gradient passes.
        return ops.cast(ops.stop_gradient(y), x.dtype) + (x - still)

    def _of_arrays(self, x: np.ndarray) -> np.ndarray:
        y = np.asarray(self.function(x), x.dtype)
        self._check(y.shape, x.shape)
        return y

    def _check(self, received: Any, wanted: Any) -> None:
        if tuple(received) != tuple(wanted):
            raise InputError(
                f"`forward` must return images of the shape that it gets, "
                f"{tuple(wanted)}. Received: {tuple(received)}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, the function by the name that it is registered with.

        Raises:
            InputError: If it is a function and not registered.
        """
        function = self.function
        if not self.layers and not _is_registered(function):
            raise InputError(
                "`forward` must be a layer, or a function registered with "
                "keras.saving.register_keras_serializable, where its model is saved. "
                f"Received: forward={function!r}"
            )
        return {
            **super().get_config(),
            "function": keras.saving.serialize_keras_object(function),
            "in_numpy": self.in_numpy,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StraightThrough":
        """Returns the layer of a configuration."""
        function = keras.saving.deserialize_keras_object(config["function"])
        return cls(**{**config, "function": function})


def _is_registered(function: Any) -> bool:
    if not isinstance(function, types.FunctionType):
        return False
    name = keras.saving.get_registered_name(function)
    return keras.saving.get_registered_object(name) is function

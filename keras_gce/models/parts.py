"""What the networks have in common: how they begin and end, and their layers."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_gce.checks import Tensor, check_integer
from keras_gce.errors import InputError

__all__ = ["checked_input", "conv", "max_pool", "with_logits"]


def checked_input(
    num_classes: int, input_shape: Sequence[int], smallest: int
) -> Tensor:
    """Returns the input of a network, before any of its layers is made.

    Args:
        num_classes: Number of classes, an integer >= 2.
        input_shape: `(height, width, channels)`.
        smallest: The least height and width.

    Raises:
        InputError: If an argument is not as described.
    """
    check_integer("num_classes", num_classes, least=2)
    try:
        for size, least in zip(input_shape, (smallest, smallest, 1), strict=True):
            check_integer("input_shape", size, least)
    except (TypeError, ValueError) as error:
        raise InputError(
            "`input_shape` must be three integers (height, width, channels), at least "
            f"({smallest}, {smallest}, 1). Received: input_shape={input_shape!r}"
        ) from error
    return keras.Input(tuple(int(size) for size in input_shape))


def with_logits(
    inputs: Tensor,
    x: Tensor,
    num_classes: int,
    name: str,
    dtype: str | None,
    decay: keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """Returns the model of all layers but the last, and of that one, in float32.

    Args:
        inputs: What `checked_input` returned.
        x: The features, of shape `(N, D)`.
        num_classes: Number of classes.
        name: Name of the model.
        dtype: Keras's dtype policy of the other layers; `None`: the global one.
        decay: Of the kernel. Defaults to `None`.
    """
    logits = layers.Dense(
        int(num_classes), kernel_regularizer=decay, dtype="float32", name="logits"
    )
    model = keras.Model(inputs, logits(x), name=name)
    if dtype is not None:
        # By the model's own policy Keras decides on scaling the loss for float16.
        model.dtype_policy = dtype
    return model


def conv(
    x: Tensor, filters: int, kernel_size: int, padding: str = "same", **options: Any
) -> Tensor:
    """Returns `x` after a convolution."""
    return layers.Conv2D(
        filters, kernel_size, padding=padding, data_format="channels_last", **options
    )(x)


def max_pool(x: Tensor, dtype: str | None) -> Tensor:
    """Returns `x` at half its size."""
    return layers.MaxPooling2D(2, data_format="channels_last", dtype=dtype)(x)

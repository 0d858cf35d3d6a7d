"""LeNet-5, and a network that is smaller still."""

from collections.abc import Sequence

import keras
from keras import layers

from keras_gce.models.parts import checked_input, conv, max_pool, with_logits

# Functions by the names of networks, as in `keras.applications`.
# ruff: noqa: N802

__all__ = ["LeNet5", "SmallCNN"]


def LeNet5(
    num_classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    dtype: str | None = None,
) -> keras.Model:
    """Builds LeNet-5 with ReLU and max pooling, the paper's MNIST model.

    Example:

    >>> model = LeNet5()
    >>> model.count_params()
    61706

    Args:
        num_classes: Number of classes, an integer >= 2. Defaults to 10.
        input_shape: `(height, width, channels)`, at least 12 x 12. Defaults to
            `(28, 28, 1)`.
        dtype: Keras's dtype policy of all layers but the last, such as
            `"mixed_bfloat16"`. Defaults to `None`: the global one.

    Returns:
        A built `keras.Model` from images of shape `(N, H, W, C)` in [0, 1] to logits
        of shape `(N, num_classes)`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        - LeCun et al., "Gradient-based learning applied to document recognition",
          1998, figure 2 (there with tanh, trainable subsampling and RBF outputs).
    """
    inputs = checked_input(num_classes, input_shape, smallest=12)
    x = conv(inputs, 6, 5, activation="relu", dtype=dtype)
    x = max_pool(x, dtype)
    x = conv(x, 16, 5, padding="valid", activation="relu", dtype=dtype)
    x = max_pool(x, dtype)
    x = layers.Flatten(data_format="channels_last", dtype=dtype)(x)
    x = layers.Dense(120, activation="relu", dtype=dtype)(x)
    x = layers.Dense(84, activation="relu", dtype=dtype, name="features")(x)
    return with_logits(inputs, x, num_classes, "lenet5", dtype)


def SmallCNN(
    num_classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    dtype: str | None = None,
) -> keras.Model:
    """Builds a network of a few thousand weights that trains in seconds.

    For tests and demonstrations; no result of the paper uses it.

    Example:

    >>> model = SmallCNN()
    >>> model.count_params()
    6346

    Args:
        num_classes: Number of classes, an integer >= 2. Defaults to 10.
        input_shape: `(height, width, channels)`, at least 8 x 8. Defaults to
            `(28, 28, 1)`.
        dtype: Keras's dtype policy of all layers but the last, such as
            `"mixed_bfloat16"`. Defaults to `None`: the global one.

    Returns:
        A built `keras.Model` from images of shape `(N, H, W, C)` in [0, 1] to logits
        of shape `(N, num_classes)`.

    Raises:
        InputError: If an argument is not as described.
    """
    inputs = checked_input(num_classes, input_shape, smallest=8)
    x = conv(inputs, 8, 5, strides=2, activation="relu", dtype=dtype)
    x = conv(x, 16, 3, strides=2, activation="relu", dtype=dtype)
    x = max_pool(x, dtype)
    x = layers.Flatten(data_format="channels_last", dtype=dtype)(x)
    x = layers.Dense(32, activation="relu", dtype=dtype, name="features")(x)
    return with_logits(inputs, x, num_classes, "small_cnn", dtype)

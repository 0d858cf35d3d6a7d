"""The residual networks: of CIFAR, and ResNet-50 for small images."""

from collections.abc import Sequence
from typing import TypeAlias

import keras
from keras import layers

from keras_gce.checks import Tensor, check_number
from keras_gce.models.parts import checked_input, conv, with_logits

# Functions by the names of networks, as in `keras.applications`.
# ruff: noqa: N802

__all__ = ["ResNet20", "ResNet50", "ResNet56"]

Decay: TypeAlias = keras.regularizers.Regularizer | None


def ResNet20(
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    weight_decay: float = 0.0,
    dtype: str | None = None,
) -> keras.Model:
    """Builds the 20-layer CIFAR ResNet: three stages of three blocks.

    See `ResNet56`, which differs only in depth.

    Example:

    >>> import math
    >>> model = ResNet20(weight_decay=1e-4)
    >>> sum(math.prod(weight.shape) for weight in model.trainable_weights)
    269722

    Args:
        num_classes: Number of classes, an integer >= 2. Defaults to 10.
        input_shape: `(height, width, channels)`, at least 8 x 8. Defaults to
            `(32, 32, 3)`.
        weight_decay: He et al.'s weight decay on the kernels, a finite number >= 0.
            Defaults to 0.0.
        dtype: Keras's dtype policy of all layers but the last, such as
            `"mixed_bfloat16"`. Defaults to `None`: the global one.

    Returns:
        A built `keras.Model` from images of shape `(N, H, W, C)` in [0, 1] to logits
        of shape `(N, num_classes)`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), section 4.2 and table 6.
    """
    return _cifar_resnet(3, num_classes, input_shape, weight_decay, dtype)


def ResNet56(
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    weight_decay: float = 0.0,
    dtype: str | None = None,
) -> keras.Model:
    """Builds the 56-layer CIFAR ResNet, the paper's CIFAR10 and CIFAR100 model.

    Three stages of nine blocks with 16, 32 and 64 filters. The shortcuts are
    parameter-free (option A): where the stage changes, the image is subsampled and
    its channels are padded with zeros.

    Example:

    >>> model = ResNet56(num_classes=100, weight_decay=1e-4)
    >>> model.output_shape
    (None, 100)

    Args:
        num_classes: Number of classes, an integer >= 2. Defaults to 10.
        input_shape: `(height, width, channels)`, at least 8 x 8. Defaults to
            `(32, 32, 3)`.
        weight_decay: He et al.'s weight decay on the kernels, a finite number >= 0;
            batch normalisation and biases do not decay. Defaults to 0.0.
        dtype: Keras's dtype policy of all layers but the last, such as
            `"mixed_bfloat16"`. Defaults to `None`: the global one.

    Returns:
        A built `keras.Model` from images of shape `(N, H, W, C)` in [0, 1] to logits
        of shape `(N, num_classes)`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), section 4.2 and table 6.
    """
    return _cifar_resnet(9, num_classes, input_shape, weight_decay, dtype)


def ResNet50(
    num_classes: int = 200,
    input_shape: Sequence[int] = (64, 64, 3),
    weight_decay: float = 0.0,
    dtype: str | None = None,
) -> keras.Model:
    """Builds ResNet-50 for small images, the paper's Tiny ImageNet model.

    The stem is a 3x3 convolution of stride 1 without a max pool, so that 64 x 64
    images reach the last stage at 8 x 8. A stage's stride is in its first 3x3
    convolution, and its first shortcut is a 1x1 convolution (option B).

    Example:

    >>> model = ResNet50(num_classes=20, input_shape=(32, 32, 3))
    >>> model.get_layer("features").output.shape
    (None, 2048)

    Args:
        num_classes: Number of classes, an integer >= 2. Defaults to 200.
        input_shape: `(height, width, channels)`, at least 8 x 8. Defaults to
            `(64, 64, 3)`.
        weight_decay: He et al.'s weight decay on the kernels, a finite number >= 0;
            batch normalisation and biases do not decay. Defaults to 0.0.
        dtype: Keras's dtype policy of all layers but the last, such as
            `"mixed_bfloat16"`. Defaults to `None`: the global one.

    Returns:
        A built `keras.Model` from images of shape `(N, H, W, C)` in [0, 1] to logits
        of shape `(N, num_classes)`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), table 1 and figure 5.
    """
    inputs = checked_input(num_classes, input_shape, smallest=8)
    decay = _decay(weight_decay)
    x = _conv_bn(inputs, 64, 3, decay, dtype=dtype)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(x, 64 * 2**stage, strides, decay, dtype)
    return _pooled_model(inputs, x, num_classes, decay, "resnet50", dtype)


def _cifar_resnet(
    blocks: int,
    num_classes: int,
    input_shape: Sequence[int],
    weight_decay: float,
    dtype: str | None,
) -> keras.Model:
    inputs = checked_input(num_classes, input_shape, smallest=8)
    decay = _decay(weight_decay)
    x = _conv_bn(inputs, 16, 3, decay, dtype=dtype)
    for stage in range(3):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(x, 16 * 2**stage, strides, decay, dtype)
    name = f"resnet{6 * blocks + 2}"
    return _pooled_model(inputs, x, num_classes, decay, name, dtype)


def _pooled_model(
    inputs: Tensor,
    x: Tensor,
    num_classes: int,
    decay: Decay,
    name: str,
    dtype: str | None,
) -> keras.Model:
    pool = layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=dtype, name="features"
    )
    return with_logits(inputs, pool(x), num_classes, name, dtype, decay)


def _basic_block(
    x: Tensor, filters: int, strides: int, decay: Decay, dtype: str | None
) -> Tensor:
    shortcut = x if strides == 1 else _subsampled(x, filters, dtype)
    x = _conv_bn(x, filters, 3, decay, strides, dtype=dtype)
    x = _conv_bn(x, filters, 3, decay, activation=None, dtype=dtype)
    return _sum(x, shortcut, dtype)


def _bottleneck(
    x: Tensor, filters: int, strides: int, decay: Decay, dtype: str | None
) -> Tensor:
    shortcut = x
    if x.shape[-1] != 4 * filters:
        shortcut = _conv_bn(x, 4 * filters, 1, decay, strides, None, dtype)
    x = _conv_bn(x, filters, 1, decay, dtype=dtype)
    x = _conv_bn(x, filters, 3, decay, strides, dtype=dtype)
    x = _conv_bn(x, 4 * filters, 1, decay, activation=None, dtype=dtype)
    return _sum(x, shortcut, dtype)


def _sum(x: Tensor, shortcut: Tensor, dtype: str | None) -> Tensor:
    x = layers.Add(dtype=dtype)([x, shortcut])
    return layers.Activation("relu", dtype=dtype)(x)


def _subsampled(x: Tensor, filters: int, dtype: str | None = None) -> Tensor:
    """Option A: every other pixel, and zero channels on either side."""
    options = {"data_format": "channels_last", "dtype": dtype}
    x = layers.AveragePooling2D(1, strides=2, **options)(x)
    height, width, channels = x.shape[1:]
    before = (filters - channels) // 2
    # Stock layers only, or the saved model would not load without this package: no
    # layer pads channels, but ZeroPadding3D does where they are a third dimension.
    padding = ((0, 0), (0, 0), (before, filters - channels - before))
    x = layers.Reshape((height, width, channels, 1), dtype=dtype)(x)
    x = layers.ZeroPadding3D(padding, **options)(x)
    return layers.Reshape((height, width, filters), dtype=dtype)(x)


def _conv_bn(
    x: Tensor,
    filters: int,
    kernel_size: int,
    decay: Decay,
    strides: int = 1,
    activation: str | None = "relu",
    dtype: str | None = None,
) -> Tensor:
    padding = "same"
    if strides > 1 and kernel_size > 1:
        # "same" with a stride pads an even image on one side only; He et al. pad
        # both, which centres the kernel on the pixels that the shortcut keeps.
        x = layers.ZeroPadding2D(
            kernel_size // 2, data_format="channels_last", dtype=dtype
        )(x)
        padding = "valid"
    x = conv(
        x,
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=decay,
        dtype=dtype,
    )
    # Keras's own momentum, 0.99, lags too far behind in a short training.
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)(x)
    return layers.Activation(activation, dtype=dtype)(x) if activation else x


def _decay(weight_decay: float) -> Decay:
    check_number("weight_decay", weight_decay, least=0)
    # Weight decay adds weight_decay * w to the gradient; Keras's L2(l) is l * w**2,
    # whose gradient is 2 * l * w.
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None

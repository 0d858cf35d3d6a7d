"""The paper's networks and a small one: images in [0, 1] in, logits out.

All are functional models of stock Keras layers, so that a saved one loads where
this package is not installed. Normalisation, where there is any, is inside. The
layer named "features" gives the penultimate features, the one named "logits" the
logits, in float32 under mixed precision too.
"""

import math
import numbers

import keras
from keras import layers

__all__ = ["LeNet5", "ResNet20", "ResNet50", "ResNet56", "SmallCNN"]


def LeNet5(num_classes=10, input_shape=(28, 28, 1), dtype=None):
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
        ValueError: If an argument is not as described.

    Reference:
        - LeCun et al., "Gradient-based learning applied to document recognition",
          1998, figure 2 (there with tanh, trainable subsampling and RBF outputs).
    """
    num_classes = _checked_classes(num_classes)
    inputs = keras.Input(_checked_shape(input_shape, smallest=12))
    x = _conv(inputs, 6, 5, activation="relu", dtype=dtype)
    x = _max_pool(x, dtype)
    x = _conv(x, 16, 5, padding="valid", activation="relu", dtype=dtype)
    x = _max_pool(x, dtype)
    x = layers.Flatten(data_format="channels_last", dtype=dtype)(x)
    x = layers.Dense(120, activation="relu", dtype=dtype)(x)
    x = layers.Dense(84, activation="relu", dtype=dtype, name="features")(x)
    return _model(inputs, x, num_classes, "lenet5", dtype)


def SmallCNN(num_classes=10, input_shape=(28, 28, 1), dtype=None):
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
        ValueError: If an argument is not as described.
    """
    num_classes = _checked_classes(num_classes)
    inputs = keras.Input(_checked_shape(input_shape, smallest=8))
    x = _conv(inputs, 8, 5, strides=2, activation="relu", dtype=dtype)
    x = _conv(x, 16, 3, strides=2, activation="relu", dtype=dtype)
    x = _max_pool(x, dtype)
    x = layers.Flatten(data_format="channels_last", dtype=dtype)(x)
    x = layers.Dense(32, activation="relu", dtype=dtype, name="features")(x)
    return _model(inputs, x, num_classes, "small_cnn", dtype)


def ResNet20(num_classes=10, input_shape=(32, 32, 3), weight_decay=0.0, dtype=None):
    """Builds the 20-layer CIFAR ResNet: three stages of three blocks.

    See `ResNet56`, which differs only in depth.

    Example:

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
        ValueError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), section 4.2 and table 6.
    """
    return _cifar_resnet(3, num_classes, input_shape, weight_decay, dtype)


def ResNet56(num_classes=10, input_shape=(32, 32, 3), weight_decay=0.0, dtype=None):
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
        ValueError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), section 4.2 and table 6.
    """
    return _cifar_resnet(9, num_classes, input_shape, weight_decay, dtype)


def ResNet50(num_classes=200, input_shape=(64, 64, 3), weight_decay=0.0, dtype=None):
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
        ValueError: If an argument is not as described.

    Reference:
        - He et al., "Deep residual learning for image recognition", CVPR 2016
          (arXiv 1512.03385), table 1 and figure 5.
    """
    num_classes = _checked_classes(num_classes)
    inputs = keras.Input(_checked_shape(input_shape, smallest=8))
    decay = _decay(weight_decay)
    x = _conv_bn(inputs, 64, 3, decay, dtype=dtype)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(x, 64 * 2**stage, strides, decay, dtype)
    return _pooled_model(inputs, x, num_classes, decay, "resnet50", dtype)


def _cifar_resnet(blocks, num_classes, input_shape, weight_decay, dtype):
    num_classes = _checked_classes(num_classes)
    inputs = keras.Input(_checked_shape(input_shape, smallest=8))
    decay = _decay(weight_decay)
    x = _conv_bn(inputs, 16, 3, decay, dtype=dtype)
    for stage in range(3):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(x, 16 * 2**stage, strides, decay, dtype)
    name = f"resnet{6 * blocks + 2}"
    return _pooled_model(inputs, x, num_classes, decay, name, dtype)


def _pooled_model(inputs, x, num_classes, decay, name, dtype):
    pool = layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=dtype, name="features"
    )
    return _model(inputs, pool(x), num_classes, name, dtype, decay)


def _model(inputs, x, num_classes, name, dtype, decay=None):
    """The model of all layers but the last, and of that one, which is float32."""
    logits = layers.Dense(
        num_classes, kernel_regularizer=decay, dtype="float32", name="logits"
    )
    model = keras.Model(inputs, logits(x), name=name)
    if dtype is not None:
        # By the model's own policy Keras decides on scaling the loss for float16.
        model.dtype_policy = dtype
    return model


def _basic_block(x, filters, strides, decay, dtype):
    shortcut = x if strides == 1 else _subsampled(x, filters, dtype)
    x = _conv_bn(x, filters, 3, decay, strides, dtype=dtype)
    x = _conv_bn(x, filters, 3, decay, activation=None, dtype=dtype)
    return _sum(x, shortcut, dtype)


def _bottleneck(x, filters, strides, decay, dtype):
    shortcut = x
    if x.shape[-1] != 4 * filters:
        shortcut = _conv_bn(x, 4 * filters, 1, decay, strides, None, dtype)
    x = _conv_bn(x, filters, 1, decay, dtype=dtype)
    x = _conv_bn(x, filters, 3, decay, strides, dtype=dtype)
    x = _conv_bn(x, 4 * filters, 1, decay, activation=None, dtype=dtype)
    return _sum(x, shortcut, dtype)


def _sum(x, shortcut, dtype):
    x = layers.Add(dtype=dtype)([x, shortcut])
    return layers.Activation("relu", dtype=dtype)(x)


def _subsampled(x, filters, dtype=None):
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


def _conv_bn(x, filters, kernel_size, decay, strides=1, activation="relu", dtype=None):
    padding = "same"
    if strides > 1 and kernel_size > 1:
        # "same" with a stride pads an even image on one side only; He et al. pad
        # both, which centres the kernel on the pixels that the shortcut keeps.
        x = layers.ZeroPadding2D(
            kernel_size // 2, data_format="channels_last", dtype=dtype
        )(x)
        padding = "valid"
    x = _conv(
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


def _conv(x, filters, kernel_size, padding="same", **options):
    return layers.Conv2D(
        filters, kernel_size, padding=padding, data_format="channels_last", **options
    )(x)


def _max_pool(x, dtype):
    return layers.MaxPooling2D(2, data_format="channels_last", dtype=dtype)(x)


def _decay(weight_decay):
    if (
        isinstance(weight_decay, bool)
        or not isinstance(weight_decay, numbers.Real)
        or not 0.0 <= weight_decay < math.inf
    ):
        raise ValueError(
            "`weight_decay` must be a finite number >= 0. "
            f"Received: weight_decay={weight_decay!r}"
        )
    # Weight decay adds weight_decay * w to the gradient; Keras's L2(l) is l * w**2,
    # whose gradient is 2 * l * w.
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def _checked_classes(num_classes):
    if not _is_integer(num_classes) or num_classes < 2:
        raise ValueError(
            "`num_classes` must be an integer >= 2. "
            f"Received: num_classes={num_classes!r}"
        )
    return int(num_classes)


def _checked_shape(input_shape, smallest):
    if (
        not isinstance(input_shape, (tuple, list))
        or len(input_shape) != 3
        or not all(_is_integer(size) and size >= 1 for size in input_shape)
        or min(input_shape[:2]) < smallest
    ):
        raise ValueError(
            "`input_shape` must be three integers (height, width, channels), at least "
            f"({smallest}, {smallest}, 1). Received: input_shape={input_shape!r}"
        )
    return tuple(int(size) for size in input_shape)


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)

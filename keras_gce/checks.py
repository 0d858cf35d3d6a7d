"""What is asked of numbers, seeds, images and labels: each check once."""

import math
import numbers
from typing import Any, TypeAlias

import numpy as np

from keras_gce.errors import InputError, faq

__all__ = [
    "Tensor",
    "as_array",
    "check_images",
    "check_integer",
    "check_labels",
    "check_number",
    "check_seed",
    "check_shape",
    "is_one_hot_shape",
]

# A tensor of the backend, or what Keras makes one of. Keras itself has no type for it;
# shape and dtype stand in the docstrings.
Tensor: TypeAlias = Any


def check_number(name, value, least, most=math.inf):
    """Refuses what is no finite number in [least, most]."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        wanted = f">= {least}" if most == math.inf else f"in [{least}, {most}]"
        raise InputError(
            f"`{name}` must be a finite number {wanted}. Received: {name}={value!r}"
        )


def check_integer(name, value, least, most=2**31 - 1):
    """Refuses what is no integer in [least, most], by default of what int32 holds."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, numbers.Integral)
        or not least <= value <= most
    ):
        too_great = isinstance(value, numbers.Integral) and value > most
        wanted = f"in [{least}, {most}]" if too_great else f">= {least}"
        raise InputError(
            f"`{name}` must be an integer {wanted}. Received: {name}={value!r}"
        )


def check_seed(value, name="seed"):
    """Refuses what is no integer in [0, 2**31), as a tensor of seeds holds."""
    check_integer(name, value, least=0)


def check_images(x, bounds, shape=None):
    """Returns images as float32, or says what is wrong with them.

    Args:
        x: Images of shape `(N, ...)`, N >= 1: numbers within `bounds`.
        bounds: The least and the greatest value of a pixel.
        shape: The shape of one image, `None` where a size is open; `None`: not known.

    Raises:
        InputError: If `x` is not as described.
    """
    x = as_array(x)
    if x.dtype.kind not in "fiub" or x.ndim < 1 or 0 in x.shape:
        raise InputError(
            "`x` must hold at least one image, as numbers of shape (N, ...). "
            f"Received: x.shape={x.shape}, x.dtype={x.dtype}"
        )
    check_shape(x.shape, shape)
    x = x.astype("float32", copy=False)
    low, high = float(x.min()), float(x.max())
    if not (low >= bounds[0] and high <= bounds[1]):
        raise InputError(
            f"`x` must lie within {bounds}, without NaN. "
            f"Received: values from {low} to {high}{faq('pixels-outside-the-bounds')}"
        )
    return x


def as_array(value):
    """Returns a tensor of any library as an array."""
    # torch's are none while they need a gradient or lie on a GPU.
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"Images and labels must be arrays of one shape each. Received: {error}"
        ) from error


def check_shape(received, shape):
    """Refuses images of another shape than the model's, and says what seems wrong."""
    if shape is None:
        if len(received) < 2:
            raise InputError(
                "`x` must hold at least one image, as numbers of shape (N, ...). "
                f"Received: x.shape={received}"
            )
        return
    if _fits(received[1:], shape):
        return
    hint = ""
    if _fits(received, shape):
        hint = ", without the batch axis; a single image is x[None]"
    elif len(shape) == 3 and len(received) == 4:
        first = (received[2], received[3], received[1])
        last = (received[3], received[1], received[2])
        if _fits(first, shape):
            hint = "; are its channels first, and the model's last?"
        elif _fits(last, shape):
            hint = "; are its channels last, and the model's first?"
    elif _fits((*received[1:], 1), shape):
        hint = ", without the axis of the channel; add it with x[..., None]"
    wanted = ", ".join(["N", *("any" if n is None else str(n) for n in shape)])
    raise InputError(
        f"`x` must be images of shape ({wanted}), the model's. "
        f"Received: x.shape={received}{hint}"
    )


def _fits(received, shape):
    return len(received) == len(shape) and all(
        b is None or a == b for a, b in zip(received, shape, strict=True)
    )


def check_labels(y, count, num_classes):
    """Returns labels as int32 of shape `(N,)`, or says what is wrong with them.

    Args:
        y: Integers or whole floats of shape `(N,)` or `(N, 1)`, or one-hot of shape
            `(N, K)`.
        count: The number N of images.
        num_classes: The number K of classes.

    Raises:
        InputError: If `y` is not as described.
    """
    y = as_array(y)
    if is_one_hot_shape(y, count, num_classes):
        if not (((y == 0) | (y == 1)).all() and (y.sum(-1) == 1).all()):
            raise InputError(
                "`y` must be one-hot (a single 1 for each example, the rest 0) where "
                f"it has two dimensions. Received: y={y[:2].tolist()}"
            )
        y = y.argmax(-1)
    elif y.shape == (count, 1):
        y = y[:, 0]
    whole = y.dtype.kind in "iub" or (y.dtype.kind == "f" and (y == np.floor(y)).all())
    if y.shape != (count,) or not whole:
        raise InputError(
            f"`y` must hold {count} integers, or be one-hot of shape "
            f"({count}, {num_classes}). "
            f"Received: y.shape={y.shape}, y.dtype={y.dtype}"
        )
    if y.min() < 0 or y.max() >= num_classes:
        from_1 = y.min() == 1 and y.max() == num_classes
        hint = "; do they start at 1?" if from_1 else ""
        raise InputError(
            f"`y` must lie in [0, {num_classes}), the classes of the model. "
            f"Received: labels from {y.min():g} to {y.max():g}{hint}"
        )
    return y.astype("int32")


def is_one_hot_shape(y, count, num_classes):
    """Returns whether labels have a column for each class."""
    return np.shape(y) == (count, num_classes)

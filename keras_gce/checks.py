"""What is asked of numbers, seeds, images and labels: each check once."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_gce.errors import InputError, faq

__all__ = [
    "TOLERANCE",
    "State",
    "Tensor",
    "as_array",
    "check_broadcast",
    "check_images",
    "check_integer",
    "check_labels",
    "check_number",
    "check_predictions",
    "check_seed",
    "check_shape",
    "check_targets",
    "is_one_hot_shape",
    "shown",
]

# Characters of a value that a message shows.
LONGEST = 120

# How far a distribution's sum may be from 1: bfloat16 rounds each entry by 0.002.
TOLERANCE = 0.005

# Sizes of a tensor's axes, `None` where one is open.
Shape: TypeAlias = Sequence[int | None]

# A tensor of the backend, or what Keras makes one of. Keras itself has no type for it;
# shape and dtype stand in the docstrings.
Tensor: TypeAlias = Any
# What a loop carries: tensors with the examples along their first axes.
State: TypeAlias = tuple[Tensor, ...]


def shown(value: Any) -> str:
    """Returns what was received as one short line, be it an array."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def check_number(name: str, value: Any, least: float, most: float = math.inf) -> None:
    """Refuses what is no finite number in [least, most]."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or not least <= float(value) <= most
    ):
        wanted = f">= {least}" if most == math.inf else f"in [{least}, {most}]"
        raise InputError(
            f"`{name}` must be a finite number {wanted}. "
            f"Received: {name}={shown(value)}"
        )


def check_integer(name: str, value: Any, least: int, most: int = 2**31 - 1) -> None:
    """Refuses what is no integer in [least, most], by default of what int32 holds."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, numbers.Integral)
        or not least <= int(value) <= most
    ):
        too_great = isinstance(value, numbers.Integral) and int(value) > most
        wanted = f"in [{least}, {most}]" if too_great else f">= {least}"
        raise InputError(
            f"`{name}` must be an integer {wanted}. Received: {name}={shown(value)}"
        )


def check_seed(value: Any, name: str = "seed") -> None:
    """Refuses what is no integer in [0, 2**31), as a tensor of seeds holds."""
    check_integer(name, value, least=0)


def check_images(
    x: Any, bounds: tuple[Any, Any], shape: Shape | None = None
) -> np.ndarray:
    """Returns images as float32, or says what is wrong with them.

    Args:
        x: Images of shape `(N, ...)`, N >= 1: numbers within `bounds`.
        bounds: The least and the greatest value of a pixel: numbers, or `PerFeature`.
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
    for bound in bounds:
        check_broadcast("bounds", bound, x.shape[1:])
    x = x.astype("float32", copy=False)
    low, high = float(x.min()), float(x.max())
    # As float32, as the images are: 2.64 is less than its nearest float32.
    least, greatest = (np.asarray(bound, "float32") for bound in bounds)
    by_feature = least.ndim or greatest.ndim
    lows, highs = (x, x) if by_feature else (low, high)
    if not (np.all(lows >= least) and np.all(highs <= greatest)):
        raise InputError(
            f"`x` must lie within {bounds}, without NaN. "
            f"Received: values from {low} to {high}{faq('pixels-outside-the-bounds')}"
        )
    return x


def check_broadcast(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Refuses what does not broadcast to an image of a shape."""
    own = np.shape(value)
    try:
        fits = np.broadcast_shapes(own, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            f"`{name}` must broadcast to an image, of shape {shape}. "
            f"Received: {name} of shape {own}"
        )


def as_array(value: Any) -> np.ndarray:
    """Returns a tensor of any library as an array."""
    # torch's are none while they need a gradient or lie on a GPU.
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"Images and labels must be arrays of one shape each. Received: {error}"
        ) from error


def check_shape(received: tuple[int, ...], shape: Shape | None) -> None:
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


def _fits(received: Shape, shape: Shape) -> bool:
    return len(received) == len(shape) and all(
        a is None or b is None or a == b for a, b in zip(received, shape, strict=True)
    )


def check_labels(y: Any, count: int, num_classes: int) -> np.ndarray:
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
        of_other = y.ndim > 0 and len(y) != count
        numbers_of = f": {len(y)} labels for {count} images" if of_other else ""
        raise InputError(
            f"`y` must hold {count} integers, or be one-hot of shape "
            f"({count}, {num_classes}). "
            f"Received: y.shape={y.shape}, y.dtype={y.dtype}{numbers_of}"
        )
    if y.min() < 0 or y.max() >= num_classes:
        from_1 = y.min() == 1 and y.max() == num_classes
        hint = "; do they start at 1?" if from_1 else ""
        raise InputError(
            f"`y` must lie in [0, {num_classes}), the classes of the model. "
            f"Received: labels from {y.min():g} to {y.max():g}{hint}"
        )
    return y.astype("int32")


def is_one_hot_shape(y: Any, count: int, num_classes: int) -> bool:
    """Returns whether labels have a column for each class."""
    return np.shape(y) == (count, num_classes)


def check_predictions(shape: Shape, axis: int, normalize: bool) -> int:
    """Returns the axis of the classes from the front, or says what is wrong with it.

    Args:
        shape: The shape of the predictions.
        axis: The axis of the classes.
        normalize: Whether the loss is divided by log(K - 1), which has to be above 0.

    Raises:
        InputError: If there is no such axis, or it has too few classes.
    """
    shape, rank = tuple(shape), len(shape)
    if rank == 0 or not -rank <= axis < rank:
        raise InputError(
            "`axis` must be an axis of `y_pred`. "
            f"Received: axis={axis}, y_pred.shape={shape}"
        )
    axis = axis % rank
    num_classes, fewest = shape[axis], 3 if normalize else 2
    if num_classes is None or num_classes < fewest:
        why = " with normalize=True, since log(K - 1) = 0 for 2" if normalize else ""
        raise InputError(
            f"`y_pred` must have at least {fewest} classes along axis {axis}{why}. "
            f"Received: y_pred.shape={shape}"
        )
    return axis


def check_targets(y_true: Any, shape: Shape, predictions: Shape, axis: int) -> bool:
    """Returns whether a loss's labels are distributions, or says what is wrong.

    Args:
        y_true: The labels as they came. In compiled code, where they have no values,
            their shape alone is looked at.
        shape: Their shape.
        predictions: The shape of the predictions.
        axis: The axis of the classes there, counted from the front.

    Raises:
        InputError: If the shapes do not match, or a label that can be seen is neither
            an integer in [0, K) nor a distribution over the classes.
    """
    shape, predictions = tuple(shape), tuple(predictions)
    values = _visible(y_true)
    if _fits(shape, predictions):
        if values is not None:
            _check_distributions(np.moveaxis(values, axis, -1))
        return True
    one_a_place = predictions[:axis] + predictions[axis + 1 :]
    column = predictions[:axis] + (1,) + predictions[axis + 1 :]
    if not (_fits(shape, one_a_place) or _fits(shape, column)):
        raise InputError(
            "`y_true` must hold integers of `y_pred`'s shape without the class axis, "
            "or with 1 there, or be a distribution of its shape. "
            f"Received: y_true.shape={shape}, y_pred.shape={predictions}"
        )
    if values is not None:
        num_classes = predictions[axis]
        wrong = (values < 0) | (values >= num_classes) | (values != np.floor(values))
        if wrong.any():
            raise InputError(
                f"`y_true` must hold integers in [0, {num_classes}). "
                f"Received: y_true with the label {values[wrong][0]}"
            )
    return False


def _check_distributions(values: np.ndarray) -> None:
    values = values.astype("float64")
    sums = values.sum(-1)
    valid = (abs(sums - 1) <= TOLERANCE) & (values >= 0).all(-1)
    if not valid.all():
        row = np.array2string(values[~valid][0], threshold=10, max_line_width=500)
        raise InputError(
            "`y_true` must be one-hot or a distribution over the classes (entries >= 0 "
            "that add up to 1) where it has the shape of `y_pred`. "
            f"Received: y_true={row}, which adds up to {sums[~valid][0]:.6g}"
        )


def _visible(y_true: Any) -> np.ndarray | None:
    """Returns labels as an array, or None inside compiled code."""
    try:
        return np.asarray(y_true)
    except Exception:  # Each backend's tracer refuses with an exception of its own.
        return None

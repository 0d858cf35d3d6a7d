"""Arrays of images and labels, in the forms in which people keep them."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_gce.errors import InputError

__all__ = ["check_from_0", "images_in_unit", "labels_of"]

# A stray huge label would otherwise mean a class name for every number below it.
MAX_CLASSES = 1_000_000
# How far a float32 may be beyond a bound that was typed, as a share of their range.
ROUNDING = 1e-6


def images_in_unit(
    where: str,
    arrays: Mapping[str, np.ndarray],
    bounds: tuple[float, float] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the images of all parts as uint8, or as floats in [0, 1].

    The unit is that of all of them: floats of one part may happen to be in [0, 1].

    Args:
        where: The file, for errors: "In FILE, ".
        arrays: Dict of the key -> images of shape `(N, H, W)` or `(N, H, W, C)`: whole
            numbers in [0, 255], or floats.
        bounds: The least and the greatest value of a pixel, for floats that are not in
            [0, 1]; `None`: there are none.

    Raises:
        InputError: If images are not as described.
    """
    images = {key: _with_channel(where, key, one) for key, one in arrays.items()}
    floats = {key: one for key, one in images.items() if one.dtype.kind == "f"}
    whole = {key: one for key, one in images.items() if key not in floats}
    for key, one in whole.items():
        if one.min() < 0 or one.max() > 255:
            raise InputError(
                f"{where}{key} must be whole numbers in [0, 255], or floats. "
                f"Received: {one.dtype} from {one.min()} to {one.max()}"
            )
        if one.dtype != np.uint8 and one.max() <= 1:
            # Black, or binary images, which 255 would not suit.
            raise InputError(
                f"{where}{key} must be uint8, or floats, where there is nothing but 0 "
                f"and 1. Received: {key}={one.dtype} {one.shape}"
            )
    if all(_within(one, 0, 1) for one in floats.values()):
        return images | {key: one.astype(np.uint8) for key, one in whole.items()}
    for key, one in floats.items():
        _check_bounds(where, key, one, bounds)
    low, high = bounds or (0, 1)
    as_bytes = (low, high) == (0, 255) and all(
        bool((one == np.floor(one)).all()) for one in floats.values()
    )
    for key, one in floats.items():
        share = np.clip((one.astype(np.float64) - low) / (high - low), 0, 1)
        # Whole numbers stay exact, and take a quarter of the memory.
        images[key] = (
            np.rint(255 * share).astype(np.uint8)
            if as_bytes
            else share.astype(np.float32)
        )
    return images | {key: one.astype(np.uint8) for key, one in whole.items()}


def _with_channel(where: str, key: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.size == 0 or images.dtype.kind not in "iuf":
        raise InputError(
            f"{where}{key} must be images of shape (N, H, W) or (N, H, W, C), "
            "whole numbers in [0, 255] or floats in [0, 1], and not empty. "
            f"Received: {key}={images.dtype} {images.shape}"
        )
    # Numbers of another machine's byte order are no tensors.
    return images.astype(images.dtype.newbyteorder("="), copy=False)


def _within(images: np.ndarray, low: float, high: float) -> bool:
    """Whether all pixels are; NaN is not."""
    return bool(images.min() >= low and images.max() <= high)


def _check_bounds(
    where: str, key: str, images: np.ndarray, bounds: tuple[float, float] | None
) -> None:
    low, high = bounds or (0, 1)
    allowed = ROUNDING * (high - low)
    if _within(images, low - allowed, high + allowed):
        return
    unit = "" if bounds in (None, (0, 1)) else f" or all within bounds={bounds},"
    hint = "; `bounds` says in which unit they are" if not unit else ""
    raise InputError(
        f"{where}{key} must be whole numbers in [0, 255], or floats in [0, 1],{unit} "
        f"without NaN. Received: {images.dtype} from {images.min()} to "
        f"{images.max()}{hint}"
    )


def labels_of(
    where: str, key: str, labels: np.ndarray, count: int
) -> tuple[np.ndarray, int]:
    """Returns labels as integers, and the number of classes that they tell of.

    Args:
        where: The file, for errors: "In FILE, ".
        key: The labels' key there.
        labels: Integers or whole floats of shape `(N,)` or `(N, 1)`, or one-hot.
        count: The number N of images.

    Raises:
        InputError: If labels are not as described.
    """
    columns = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else 0
    if labels.ndim and labels.shape[0] != count:
        raise InputError(
            f"{where}{key} must hold one label for each image. "
            f"Received: {len(labels)} labels for {count} images"
        )
    received, labels = f"{key}={labels.dtype} {labels.shape}", _whole(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{where}{key} must be integers of shape ({count},) or ({count}, 1), or "
            f"one-hot of shape ({count}, K). Received: {received}"
        )
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise InputError(
            f"{where}{key} must be in [0, {MAX_CLASSES}). "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels, max(columns, 1 + int(labels.max()))


def check_from_0(where: str, labels: Sequence[np.ndarray]) -> None:
    """Refuses the labels of all parts, those to train on too, that have no 0."""
    least, greatest = min(y.min() for y in labels), max(y.max() for y in labels)
    if least == 1:
        raise InputError(
            f"{where}the labels must start at 0: subtract 1. Received: labels from "
            f"{least} to {greatest}; the labels start at 1"
        )


def _whole(labels: np.ndarray) -> np.ndarray:
    """Returns one-hot labels and whole floats as integers, others as they are."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "fb" and labels.ndim == 1:
        return labels
    if labels.dtype.kind not in "iufb":
        return labels
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all():
        return labels.argmax(-1) if (labels.sum(-1) == 1).all() else labels
    if labels.ndim == 1 and (labels == np.floor(labels)).all():
        # Greater ones are no labels, and no integers either.
        return np.clip(labels, -1, MAX_CLASSES).astype("int64")
    return labels

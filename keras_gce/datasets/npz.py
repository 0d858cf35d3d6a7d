"""Datasets in an .npz file with Keras's keys."""

import zipfile
import zlib

import numpy as np

from keras_gce.datasets.split import Split
from keras_gce.errors import InputError

__all__ = ["read"]

KEYS = ("x_train", "y_train", "x_test", "y_test")
# A stray huge label would otherwise mean a class name for every number below it.
MAX_CLASSES = 1_000_000
# What NumPy raises for a file that is not, or no longer, an .npz of plain arrays;
# the last two for an .npy file by the name of .npz.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    AttributeError,
    TypeError,
)


def read(path: str) -> tuple[Split, Split, tuple[str, ...]]:
    """Returns train, test and the class names of the file at `path`."""
    x_train, y_train, x_test, y_test = _arrays(path)
    train = _split(path, "train", x_train, y_train)
    test = _split(path, "test", x_test, y_test)
    if (train.images.shape[1:], train.images.dtype) != (
        test.images.shape[1:],
        test.images.dtype,
    ):
        raise InputError(
            f"In {path}, x_train and x_test must have images of one shape and dtype. "
            f"Received: x_train={_described(x_train)}, x_test={_described(x_test)}"
        )
    num_classes = max(
        1 + int(max(train.labels.max(), test.labels.max())),
        *(labels.shape[1] if labels.ndim == 2 else 0 for labels in (y_train, y_test)),
    )
    if num_classes < 2:
        raise InputError(
            f"In {path}, the labels must name at least 2 classes. "
            "Received: no label but 0"
        )
    return train, test, tuple(str(label) for label in range(num_classes))


def _arrays(path: str) -> list[np.ndarray]:
    try:
        # allow_pickle=False: a pickle in a file from elsewhere could run any code.
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise InputError(
                    f"{path} must hold the arrays {', '.join(KEYS)}. "
                    f"Received: {', '.join(file.files) or 'none'}"
                )
            return [file[key] for key in KEYS]
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}") from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} must be a readable .npz file of plain arrays. Received: {reason}"
        ) from error


def _split(path: str, part: str, images: np.ndarray, labels: np.ndarray) -> Split:
    if images.ndim == 3:
        images = images[..., None]
    is_float = np.issubdtype(images.dtype, np.floating)
    if images.ndim != 4 or images.size == 0 or not (images.dtype == "u1" or is_float):
        raise InputError(
            f"In {path}, x_{part} must be images of shape (N, H, W) or (N, H, W, C), "
            "uint8 or floats in [0, 1], and not empty. "
            f"Received: x_{part}={_described(images)}"
        )
    if is_float:
        low, high = images.min(), images.max()
        # NaN fails both comparisons.
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"In {path}, x_{part} must be uint8, or floats in [0, 1] without NaN. "
                f"Received: {images.dtype} from {low} to {high}"
            )
    labels = _whole(labels)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"In {path}, y_{part} must be integers of shape ({len(images)},) or "
            f"({len(images)}, 1), or one-hot of shape ({len(images)}, K), one for each "
            f"image. Received: y_{part}={_described(labels)}"
        )
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise InputError(
            f"In {path}, y_{part} must be in [0, {MAX_CLASSES}). "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return Split(images, labels)


def _whole(labels: np.ndarray) -> np.ndarray:
    """Returns one-hot labels and whole floats as integers, others as they are."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "fb" and labels.ndim == 1:
        return labels
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all():
        return labels.argmax(-1) if (labels.sum(-1) == 1).all() else labels
    if labels.ndim == 1 and (labels == np.floor(labels)).all():
        # Greater ones are no labels, and no integers either.
        return np.clip(labels, -1, MAX_CLASSES).astype("int64")
    return labels


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"

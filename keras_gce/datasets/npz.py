"""Datasets in an .npz file with Keras's keys, or with others that are usual."""

import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from keras_gce.datasets.arrays import check_from_0, images_in_unit, labels_of
from keras_gce.datasets.parts import Parts
from keras_gce.datasets.split import Split
from keras_gce.datasets.unknown import beside
from keras_gce.errors import InputError

__all__ = ["read"]

PARTS = ("train", "val", "test")
# Keras's, and MedMNIST's; then those of a test part alone.
SPELLINGS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))
ALONE = (("x", "y"), ("images", "labels"))
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


def read(path: str, bounds: tuple[float, float] | None = None) -> Parts:
    """Returns the parts in the file at `path`.

    Args:
        path: Path of the file.
        bounds: The least and the greatest value of a pixel, for floats that are not in
            [0, 1]; `None`: there are none.
    """
    arrays, keys = _arrays(path)
    where = f"In {path}, "
    images = images_in_unit(where, {k: arrays[k] for k, _ in keys.values()}, bounds)
    shapes = {(one.shape[1:], one.dtype) for one in images.values()}
    if len(shapes) > 1:
        described = ", ".join(
            f"{key}={arrays[key].dtype} {arrays[key].shape}" for key in images
        )
        raise InputError(
            f"{where}{' and '.join(images)} must have images of one shape and dtype. "
            f"Received: {described}"
        )
    splits, num_classes = {}, 0
    for part, (x, y) in keys.items():
        labels, columns = labels_of(where, y, arrays[y], len(images[x]))
        splits[part] = Split(images[x], labels)
        num_classes = max(num_classes, columns)
    if "train" in splits:
        check_from_0(where, [split.labels for split in splits.values()])
    if num_classes < 2:
        raise InputError(
            f"{where}the labels must name at least 2 classes. Received: no label but 0"
        )
    return Parts(
        train=splits.get("train"),
        test=splits["test"],
        class_names=tuple(str(label) for label in range(num_classes)),
        validation=splits.get("val"),
    )


def _arrays(path: str) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """Returns the arrays by their keys, and of each part the keys of its two."""
    try:
        # allow_pickle=False: a pickle in a file from elsewhere could run any code.
        with np.load(path, allow_pickle=False) as file:
            keys = _keys(path, file.files)
            return {key: file[key] for pair in keys.values() for key in pair}, keys
    except InputError:
        raise
    except FileNotFoundError as error:
        meant = beside(path)
        hint = f"; did you mean {meant}?" if meant else ""
        raise InputError(f"There is no file {path}{hint}") from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} must be a readable .npz file of plain arrays. Received: {reason}"
        ) from error


def _keys(path: str, found: Sequence[str]) -> dict[str, tuple[str, str]]:
    for images, labels in SPELLINGS:
        keys = {part: (images.format(part), labels.format(part)) for part in PARTS}
        there = {part: pair for part, pair in keys.items() if {*pair} & {*found}}
        if "test" in there and all({*pair} <= {*found} for pair in there.values()):
            return there
        if there:
            break
    else:
        alone = [pair for pair in ALONE if {*pair} <= {*found}]
        if len(alone) == 1:
            return {"test": alone[0]}
    raise InputError(
        f"{path} must hold the arrays x_test and y_test, and to train x_train and "
        f"y_train. Received: {', '.join(found) or 'none'}"
    )

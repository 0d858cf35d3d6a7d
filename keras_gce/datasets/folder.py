"""A folder with one subfolder of images a class, read by Keras."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.checks import check_integer
from keras_gce.datasets.parts import Parts
from keras_gce.datasets.split import Split
from keras_gce.errors import InputError

__all__ = ["read"]

# What Keras's reader takes, and what is an image too, which it would leave out
# without a word.
KINDS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
OTHER_KINDS = (".avif", ".heic", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
# Names of subfolders that are parts.
PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
# Images in memory as Keras gives them, float32, before they are whole numbers.
BATCH_SIZE = 64


def read(
    path: str,
    image_size: Any = None,
    channels: int | None = None,
    test_only: bool = False,
) -> Parts:
    """Returns the parts in the folder at `path`.

    Args:
        path: `FOLDER/<class>/*`, the test part alone, or `FOLDER/train/<class>/*` and
            `FOLDER/test/<class>/*`, and for a validation part `FOLDER/val`.
        image_size: Height and width; `None`: the images' own, one for all.
        channels: 1, 3 or 4; `None`: 3.
        test_only: Whether only the test part is read; its classes are those of train.

    Raises:
        InputError: If the folder is not as described, or an image can't be read.
    """
    channels = 3 if channels is None else channels
    if channels not in COLOR_MODES:
        raise InputError(
            f"`channels` must be 1, 3 or 4 for a folder. Received: channels={channels}"
        )
    size = _size(image_size)
    folders = _parts(pathlib.Path(path))
    names = {part: _subfolders(folder) for part, folder in folders.items()}
    class_names = names.get("train", names["test"])
    if test_only:
        folders = {"test": folders["test"]}
    for part, folder in folders.items():
        _check_part(folder, names[part], class_names)
    try:
        size = size or _own_size([f for d in folders.values() for f in _images(d)])
        splits = {
            part: _split(folder, names[part], class_names, size, channels)
            for part, folder in folders.items()
        }
    except ImportError as error:
        raise InputError(
            "A folder of images needs TensorFlow, with which Keras reads it under any "
            f"backend: pip install tensorflow. Received: {path} ({error})"
        ) from error
    return Parts(
        train=splits.get("train"),
        test=splits["test"],
        class_names=tuple(class_names),
        validation=splits.get("validation"),
    )


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise InputError(
            "`image_size` must be a height and a width, or one number for both. "
            f"Received: image_size={value!r}"
        )
    for number in pair:
        check_integer("image_size", number, least=1)
    return int(pair[0]), int(pair[1])


def _parts(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the folder of each part."""
    names = _subfolders(root)
    if not names:
        found = "images beside each other" if _images(root) else "no subfolder"
        raise InputError(
            f"{root} must have one subfolder of images for each class. "
            f"Received: {found}"
        )
    # A class may be called `test` too: a part has classes inside, and no images.
    parts = [n for n in names if n.lower() in PARTS and _has_classes(root / n)]
    if not parts:
        return {"test": root}
    others = [n for n in names if n not in parts and _images(root / n)]
    kinds = [PARTS[n.lower()] for n in parts]
    if others or len(set(kinds)) < len(kinds):
        raise InputError(
            f"{root} must have one subfolder a class, or train, test and val alone, "
            f"with the classes in them. Received: {', '.join([*parts, *others])}"
        )
    if "test" not in kinds:
        raise InputError(
            f"{root} must have a test part beside {', '.join(parts)}; to evaluate on "
            f"another part give its own folder, {root / parts[0]}. "
            f"Received: {', '.join(parts)}"
        )
    return dict(zip(kinds, (root / name for name in parts), strict=True))


def _subfolders(folder: pathlib.Path) -> list[str]:
    """Returns the names of the subfolders in Keras's order, without hidden ones."""
    # What macOS puts into an archive, with a copy of each name.
    return sorted(
        one.name
        for one in folder.iterdir()
        if one.is_dir() and not one.name.startswith(".") and one.name != "__MACOSX"
    )


def _has_classes(folder: pathlib.Path) -> bool:
    direct = any(_is_image(one.name) for one in folder.iterdir() if one.is_file())
    return not direct and any(_images(folder / name) for name in _subfolders(folder))


def _images(folder: pathlib.Path) -> list[str]:
    """Returns the paths of the images in a folder, of its subfolders too, as Keras."""
    return [
        os.path.join(root, name)
        for root, _, names in sorted(os.walk(folder))
        for name in sorted(names)
        if _is_image(name)
    ]


def _is_image(name: str) -> bool:
    return name.lower().endswith(KINDS)


def _check_part(
    folder: pathlib.Path, names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Refuses what Keras would read otherwise than it was meant."""
    if len(class_names) < 2:
        meant = [folder / name for name in class_names if _has_classes(folder / name)]
        # As archives are unpacked.
        hint = f"; did you mean {meant[0]}?" if meant else ""
        raise InputError(
            f"{folder} must have a subfolder for each of at least 2 classes. "
            f"Received: {', '.join(class_names)}{hint}"
        )
    strange = [name for name in names if name not in class_names]
    if strange:
        raise InputError(
            f"{folder} must have the classes of the train part, "
            f"{', '.join(class_names)}. Received: {', '.join(strange)}"
        )
    files = [
        os.path.join(root, name)
        for class_name in names
        for root, _, files in os.walk(folder / class_name)
        for name in files
    ]
    for path in sorted(files):
        inside = pathlib.Path(path).relative_to(folder).parts
        if any(part.startswith(".") for part in inside) and _is_image(path):
            raise InputError(
                f"{folder} must have no hidden files among the images; delete them. "
                f"Received: {path}"
            )
        if path.lower().endswith(OTHER_KINDS):
            raise InputError(
                f"{folder} must have images of the kinds {', '.join(KINDS)} alone, "
                f"which Keras reads. Received: {path}"
            )
    if not any(_is_image(path) for path in files):
        raise InputError(
            f"{folder} must have images of the kinds {', '.join(KINDS)}. Received: none"
        )


def _own_size(paths: Sequence[str]) -> tuple[int, int]:
    from keras_gce.datasets import tf_images

    try:
        sizes = tf_images.sizes(paths)
    except ImportError:
        raise
    except Exception as error:  # TensorFlow's own kinds, and the file system's.
        raise _unreadable(paths, 0, error) from error
    other = np.flatnonzero((sizes != sizes[0]).any(-1))
    if len(other):
        (height, width), (h, w) = sizes[0], sizes[other[0]]
        raise InputError(
            "`image_size` must be given where the images are of several sizes. "
            f"Received: {paths[0]} of {height} x {width}, "
            f"{paths[other[0]]} of {h} x {w}"
        )
    return int(sizes[0][0]), int(sizes[0][1])


def _unreadable(paths: Sequence[str], channels: int, error: Exception) -> InputError:
    from keras_gce.datasets import tf_images

    path, reason = tf_images.unreadable(paths, channels) or ("one file", str(error))
    # TensorFlow's say first which node of which graph it was.
    reason = " ".join(reason.split("}}")[-1].split(" [Op:")[0].split())
    return InputError(
        f"Each image must be one that can be decoded. Received: {path} ({reason[:200]})"
    )


def _split(
    folder: pathlib.Path,
    names: Sequence[str],
    class_names: Sequence[str],
    size: tuple[int, int],
    channels: int,
) -> Split:
    data = keras.utils.image_dataset_from_directory(
        os.fspath(folder),
        class_names=list(names),
        color_mode=COLOR_MODES[channels],
        batch_size=BATCH_SIZE,
        image_size=size,
        shuffle=False,
        data_format="channels_last",
        verbose=False,
    )
    count = len(data.file_paths)
    images = np.empty((count, *size, channels), np.uint8)
    labels = np.empty(count, np.int32)
    # One order for good, and not class by class: the first images are a fair sample.
    # RandomState's stream NumPy has frozen.
    places, done = np.random.RandomState(0).permutation(count), 0
    try:
        for x, y in data:
            place = places[done : done + len(y)]
            images[place], labels[place] = np.rint(x), y
            done += len(y)
    except Exception as error:  # TensorFlow's own kinds, and the file system's.
        raise _unreadable(data.file_paths, channels, error) from error
    # A class of train may have no folder in another part.
    number = np.array([class_names.index(name) for name in names])
    return Split(images, number[labels])

"""`load`: one call for every dataset, and the cut of the validation part."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_gce.checks import check_number
from keras_gce.datasets.parts import Parts
from keras_gce.datasets.split import Split, check_seed
from keras_gce.datasets.unknown import refuse
from keras_gce.errors import InputError
from keras_gce.names import DATASETS

__all__ = ["NAMES", "Dataset", "load"]

NAMES = DATASETS


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset in three parts, as `load` returns it.

    Args:
        name: The name it was loaded by.
        train: The `Split` to train on; empty where there is the test part alone.
        validation: The `Split` cut from train, for every choice made on the way, or
            the dataset's own; empty where none was cut.
        test: The `Split` for the final figure only.
        num_classes: Number of classes.
        class_names: Their names, a tuple of strings in the order of the labels.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...]


def load(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    bounds: tuple[float, float] | None = None,
    test_only: bool = False,
) -> Dataset:
    """Loads a dataset into memory and cuts a validation part from its train part.

    - `"digits"`: scikit-learn's 1,797 handwritten digits, resized to 28 x 28. Needs
      no network and trains in seconds.
    - `"mnist"`, `"cifar10"`, `"cifar100"`, `"tiny_imagenet"`: through TensorFlow
      Datasets (TFDS), from its data folder or, where that lacks them, by download.
      Tiny ImageNet's test part is the published validation images, since its test
      images have no labels; its archive may also lie in the folder's
      `downloads/manual`. Where the folder holds a file by the dataset's name, such as
      `cifar10.npz`, that is read instead, as below, and TFDS is not needed.
    - `"path/to/file.npz"`: arrays `x_train`, `y_train`, `x_test` and `y_test`, the
      keys of Keras's own files, or `train_images`, `train_labels` and so on; the test
      part alone too, also as `x` and `y` or `images` and `labels`; `x_val` and `y_val`
      are a validation part. Images: N H W or N H W C, whole numbers in [0, 255], or
      floats in [0, 1] or within `bounds`; labels: N or N 1, integers or whole floats
      >= 0, or one-hot.
    - `"path/to/folder"`: one subfolder of images a class, `FOLDER/<class>/*`, is the
      test part alone; with a train part it is `FOLDER/train/<class>/*` and
      `FOLDER/test/<class>/*`, and `FOLDER/val/<class>/*` for a validation part.
      `keras.utils.image_dataset_from_directory` reads it, which needs TensorFlow under
      any backend: .bmp, .gif, .jpeg, .jpg and .png, classes in the order of their
      names as text, resized bilinearly to `image_size` without regard to their aspect
      ratio, in whole numbers. The images of a part are shuffled, always alike.

    Example:

    >>> data = load("digits", validation=0.2)
    >>> len(data.train), len(data.validation), len(data.test)
    (1150, 287, 360)
    >>> data.train
    Split(images=uint8 (1150, 28, 28, 1), labels=int32 (1150,))
    >>> data.class_names[:3]
    ('0', '1', '2')

    Args:
        name: One of `NAMES`, or the path of an `.npz` file or of a folder.
        data_dir: The data folder, of TFDS or of `.npz` files. Defaults to `None`: the
            environment variable `TFDS_DATA_DIR`, else TFDS's own default. Unused for
            digits and files.
        validation: The share of train to cut for validation, in [0, 1); 0 gives an
            empty split. At least one training example stays. Nothing is cut where the
            dataset has a validation part of its own. Defaults to 0.1.
        seed: Chooses which examples are cut, an integer >= 0. The test part never
            depends on it, and both parts keep the dataset's order. Defaults to 0.
        image_size: Of a folder: height and width, or one number for both. Defaults to
            `None`: the images' own size, if all have the same.
        channels: Of a folder: 1, 3 or 4. Defaults to `None`: 3.
        bounds: Of an `.npz` file: the least and greatest value of a pixel, where its
            floats are in another unit than [0, 1], such as (0, 255). They are brought
            to [0, 1]. Floats that all lie in [0, 1] are in that unit whatever `bounds`
            is. Defaults to `None`: [0, 1].
        test_only: Whether only the test part is wanted: the others are empty then, and
            those of a folder are not read. Defaults to `False`.

    Returns:
        A `Dataset`.

    Raises:
        InputError: If an argument is not as described, or the data cannot be had.
    """
    check_number("validation", validation, least=0)
    if validation >= 1:
        raise InputError(
            f"`validation` must be a number in [0, 1). Received: {validation=}"
        )
    check_seed(seed)
    bounds = None if bounds is None else _checked(bounds)
    of_folders = {"image_size": image_size, "channels": channels}
    parts = _read(name, data_dir, of_folders, bounds, test_only)
    test, train, held_out = parts.test, parts.train, parts.validation
    empty = Split(test.images[:0], test.labels[:0])
    if train is None or test_only:
        train, held_out = empty, empty
    elif held_out is None:
        train, held_out = _cut(train, validation, seed)
    return Dataset(
        name=os.fspath(name),
        train=train,
        validation=empty if held_out is None else held_out,
        test=test,
        num_classes=len(parts.class_names),
        class_names=parts.class_names,
    )


def _checked(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not (low < high and np.isfinite(high - low)):
        raise InputError(
            "`bounds` must be two finite numbers, the lower one first. "
            f"Received: bounds={bounds!r}"
        )
    return low, high


def _read(
    name: Any,
    data_dir: str | os.PathLike[str] | None,
    of_folders: dict[str, Any],
    bounds: tuple[float, float] | None,
    test_only: bool,
) -> Parts:
    """Returns the parts. Each reader is imported when it is used."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else None
    if isinstance(text, str) and text not in NAMES and os.path.isdir(text):
        from keras_gce.datasets import folder

        return folder.read(text, **of_folders, test_only=test_only)
    given = [
        f"{key}={value!r}" for key, value in of_folders.items() if value is not None
    ]
    if given:
        raise InputError(
            f"`{given[0].partition('=')[0]}` is for a folder of images. "
            f"Received: name={name!r}, {', '.join(given)}"
        )
    if text == "digits":
        from keras_gce.datasets import digits

        return Parts(*digits.read())
    in_place_of = None
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    if text in NAMES and data_dir:
        file = os.path.join(data_dir, f"{text}.npz")
        text, in_place_of = (file, text) if os.path.isfile(file) else (text, None)
    if text in NAMES:
        from keras_gce.datasets import tfds

        return Parts(*tfds.read(text, data_dir))
    if isinstance(text, str) and text.endswith(".npz"):
        from keras_gce.datasets import npz

        parts = npz.read(text, bounds)
        if in_place_of and parts.train is None:
            raise InputError(
                f"{text} must hold x_train and y_train too, since it takes the place "
                f"of {in_place_of}. Received: the test part alone"
            )
        return parts
    refuse(name)


def _cut(train: Split, validation: float, seed: int) -> tuple[Split, Split]:
    count = min(round(validation * len(train)), len(train) - 1)
    if count == 0:
        return train, Split(train.images[:0], train.labels[:0])
    held_out = np.zeros(len(train), dtype=bool)
    held_out[np.random.default_rng(seed).permutation(len(train))[:count]] = True
    return (
        Split(train.images[~held_out], train.labels[~held_out]),
        Split(train.images[held_out], train.labels[held_out]),
    )

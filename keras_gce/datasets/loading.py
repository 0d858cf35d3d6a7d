"""`load`: one call for every dataset, and the cut of the validation part."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_gce.checks import check_number
from keras_gce.datasets.split import Split, check_seed
from keras_gce.errors import InputError
from keras_gce.names import DATASETS

__all__ = ["NAMES", "Dataset", "load"]

NAMES = DATASETS


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset in three parts, as `load` returns it.

    Args:
        name: The name it was loaded by.
        train: The `Split` to train on.
        validation: The `Split` cut from train, for every choice made on the way;
            empty where none was cut.
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
      keys of Keras's own files. Images: N H W or N H W C, uint8 or floats in [0, 1];
      labels: N or N 1, integers or whole floats >= 0, or one-hot.

    Example:

    >>> data = load("digits", validation=0.2)
    >>> len(data.train), len(data.validation), len(data.test)
    (1150, 287, 360)
    >>> data.train
    Split(images=uint8 (1150, 28, 28, 1), labels=int32 (1150,))
    >>> data.class_names[:3]
    ('0', '1', '2')

    Args:
        name: One of `NAMES`, or the path of an `.npz` file.
        data_dir: The data folder, of TFDS or of `.npz` files. Defaults to `None`: the
            environment variable `TFDS_DATA_DIR`, else TFDS's own default. Unused for
            digits and files.
        validation: The share of train to cut for validation, in [0, 1); 0 gives an
            empty split. At least one training example stays. Defaults to 0.1.
        seed: Chooses which examples are cut, an integer >= 0. The test part never
            depends on it, and both parts keep the dataset's order. Defaults to 0.

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
    train, test, class_names = _read(name, data_dir)
    train, held_out = _cut(train, validation, seed)
    return Dataset(
        name=os.fspath(name),
        train=train,
        validation=held_out,
        test=test,
        num_classes=len(class_names),
        class_names=class_names,
    )


def _read(
    name: Any, data_dir: str | os.PathLike[str] | None
) -> tuple[Split, Split, tuple[str, ...]]:
    """Returns train, test and class names. Each reader is imported when it is used."""
    if isinstance(name, (str, os.PathLike)):
        text = os.fspath(name)
        if text == "digits":
            from keras_gce.datasets import digits

            return digits.read()
        folder = data_dir or os.environ.get("TFDS_DATA_DIR")
        if text in NAMES and folder:
            file = os.path.join(folder, f"{text}.npz")
            text = file if os.path.isfile(file) else text
        if text in NAMES:
            from keras_gce.datasets import tfds

            return tfds.read(text, data_dir)
        if isinstance(text, str) and text.endswith(".npz"):
            from keras_gce.datasets import npz

            return npz.read(text)
    raise InputError(
        f"`name` must be one of {', '.join(NAMES)}, or the path of an .npz file. "
        f"Received: name={name!r}"
    )


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

"""Data from the command line: the options that say which, and the loading."""

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from keras_gce import names
from keras_gce.cli import options
from keras_gce.cli.wording import in_options
from keras_gce.errors import InputError

if TYPE_CHECKING:  # They bring Keras.
    from keras_gce.classifier import Classifier
    from keras_gce.datasets import Dataset

__all__ = ["add_dataset", "load", "load_to_train"]


def add_dataset(parser: options.Parser) -> None:
    """Adds the data, which are any that `datasets.load` knows."""
    parser.add_argument(
        "--dataset",
        required=True,
        help=f"{', '.join(names.DATASETS)}, or the path of an .npz, or of a folder "
        "with one subfolder of images a class",
    )
    parser.add_argument(
        "--image-size",
        type=options.count,
        nargs="+",
        metavar=("H", "W"),
        help="of a folder: to which images are resized, one number for both; without "
        "it the model's size where it is known, else the images' own",
    )
    options.add_data_dir(parser)


def load(args: argparse.Namespace, classifier: "Classifier") -> "Dataset":
    """Loads the test part of data, for a model that exists.

    Args:
        args: The parsed arguments.
        classifier: The `Classifier` of the model.

    Raises:
        InputError: If the data can't be had, or do not suit the model.
    """
    from keras_gce.checks import check_shape

    shape = classifier.input_shape
    first = classifier.data_format == "channels_first"
    settings: dict[str, Any] = {"test_only": True, "bounds": args.bounds}
    settings["image_size"] = _size(args)
    is_folder = _is_folder(args.dataset)
    if is_folder and shape and len(shape) == 3:
        height, width, channels = (*shape[1:], shape[0]) if first else shape
        if channels not in (None, 1, 3, 4):
            raise InputError(
                "MODEL must take images of 1, 3 or 4 channels, as a folder has. "
                f"Received: {args.model}, for images of shape {shape}"
            )
        settings["channels"] = channels
        if settings["image_size"] is None and height and width:
            settings["image_size"] = height, width
    dataset = _load(args, **settings)
    if is_folder and first:
        dataset = _channels_first(dataset)
    with in_options(x="--dataset", **{"x.shape": "shape"}):
        check_shape(dataset.test.images.shape, shape)
    return _of_classes(args, dataset, classifier.num_classes)


def load_to_train(args: argparse.Namespace, **settings: Any) -> "Dataset":
    """Loads data for a training.

    Args:
        args: The parsed arguments.
        **settings: More of `datasets.load`.

    Raises:
        InputError: If the data can't be had, or have no train part.
    """
    dataset = _load(args, image_size=_size(args), **settings)
    if not len(dataset.train):
        raise InputError(
            "`--dataset` must have a train part: x_train and y_train of an .npz, or "
            f"FOLDER/train beside FOLDER/test. Received: --dataset {args.dataset}, the "
            "test part alone"
        )
    shape = dataset.train.images.shape
    if shape[1] in (1, 3) and shape[3] > 4:
        raise InputError(
            "`--dataset` must have images of shape (N, H, W, C). "
            f"Received: {shape}; are its channels first?"
        )
    return dataset


def _load(args: argparse.Namespace, **settings: Any) -> "Dataset":
    from keras_gce import datasets

    words = {"name": "--dataset", "data_dir": "--data-dir"}
    words |= {"image_size": "--image-size", "bounds": "--bounds"}
    try:
        with in_options(**words):
            return datasets.load(args.dataset, data_dir=args.data_dir, **settings)
    except InputError as error:
        if str(error).startswith("`--"):
            raise
        # It begins with a file, or with what each image must be.
        raise InputError(f"`--dataset`: {error}") from error


def _is_folder(dataset: str) -> bool:
    return dataset not in names.DATASETS and os.path.isdir(dataset)


def _size(args: argparse.Namespace) -> tuple[int, ...] | int | None:
    given = args.image_size
    if given is None or len(given) == 1:
        return given and given[0]
    return tuple(given)


def _channels_first(dataset: "Dataset") -> "Dataset":
    from keras_gce.datasets import Split

    test = Split(dataset.test.images.transpose(0, 3, 1, 2), dataset.test.labels)
    return dataclasses.replace(dataset, test=test)


def _of_classes(
    args: argparse.Namespace, dataset: "Dataset", num_classes: int
) -> "Dataset":
    """Returns the data with the classes of the model, where they may be the same."""
    found = dataset.num_classes
    is_file = args.dataset not in names.DATASETS and not _is_folder(args.dataset)
    if is_file and found < num_classes:
        # No label of the last classes: it may be the test part of some images.
        class_names = tuple(str(label) for label in range(num_classes))
        return dataclasses.replace(
            dataset, num_classes=num_classes, class_names=class_names
        )
    if found != num_classes:
        labels = dataset.test.labels
        from_1 = labels.min() == 1 and labels.max() == num_classes
        hint = "; do the labels start at 1?" if from_1 else ""
        raise InputError(
            f"MODEL must have {found} classes, as `--dataset` {args.dataset} has. "
            f"Received: {args.model} with {num_classes}{hint}"
        )
    return dataset

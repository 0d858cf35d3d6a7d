"""MNIST, the CIFARs and Tiny ImageNet through TensorFlow Datasets (TFDS)."""

import contextlib
import io
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_gce.datasets.split import Split
from keras_gce.errors import InputError

__all__ = ["read"]

SOURCES = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
    "cifar100": "https://www.cs.toronto.edu/~kriz/",
    "tiny_imagenet": "http://cs231n.stanford.edu/",
}
BY_HAND = ", or put tiny-imagenet-200.zip into its downloads/manual"
TIMEOUT = 10  # seconds


def read(
    name: str, data_dir: str | os.PathLike[str] | None = None
) -> tuple[Split, Split, tuple[str, ...]]:
    """Returns train, test and the class names; downloads what the folder lacks."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"The dataset {name!r} needs TensorFlow Datasets and TensorFlow: pip "
            f'install "keras_gce[tensorflow,data]". Without them put {name}.npz, with '
            "the keys x_train, y_train, x_test, y_test, into the folder of `data_dir` "
            f"or TFDS_DATA_DIR. Received: {error}"
        ) from error
    # TFDS reads the variable once, when it is imported; a later change counts too.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or None
    with _quiet():
        folder = data_dir or "its default folder"
        try:
            if name == "tiny_imagenet":
                from keras_gce.datasets import tiny_imagenet  # noqa: F401, registers
            builder = tfds.builder(name, data_dir=data_dir)
            root = builder.data_path.parent.parent
            folder = os.fspath(root)
            if not builder.is_prepared():
                _download(tfds, builder, name, root / "downloads" / "manual")
            # The labels of Tiny ImageNet's test images were never published.
            test = "validation" if name == "tiny_imagenet" else "test"
            train, test = builder.as_dataset(
                split=["train", test],
                batch_size=-1,
                read_config=tfds.ReadConfig(try_autocache=False),
            )
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"The dataset {name!r} is not readable in {folder} and could not be "
                "downloaded: fill that folder where there is a network, or set "
                "TFDS_DATA_DIR (or `data_dir`) to a TFDS folder that holds it"
                f"{BY_HAND if name == 'tiny_imagenet' else ''}. "
                f"Received: {reason[:200]}"
            ) from error
        class_names = tuple(builder.info.features["label"].names)
    return _split(train), _split(test), class_names


def _download(tfds: Any, builder: Any, name: str, manual: Any) -> None:
    by_hand = name == "tiny_imagenet" and manual.exists() and any(manual.iterdir())
    if not by_hand:
        # TFDS retries a host that cannot be reached for minutes and leaves its lock
        # and part files behind; ask once before it starts.
        request = urllib.request.Request(SOURCES[name], method="HEAD")
        # An HTTP error is an answer too: the host is there.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as download_dir:
        builder.download_and_prepare(
            download_dir=download_dir,
            download_config=tfds.download.DownloadConfig(
                manual_dir=manual if by_hand else None
            ),
        )


def _split(data: Any) -> Split:
    return Split(np.asarray(data["image"]), np.asarray(data["label"]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's prints and the warnings of its libraries off the terminal."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

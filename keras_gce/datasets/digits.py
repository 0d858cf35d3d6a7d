"""The digits that come with scikit-learn, resized to MNIST's 28 x 28."""

import numpy as np

from keras_gce.datasets.split import Split
from keras_gce.errors import InputError

__all__ = ["read"]

SIZE = 28
TEST_PER_CLASS = 36


def read() -> tuple[Split, Split, tuple[str, ...]]:
    """Returns train (1,437 images), test (36 of each class) and the class names."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "The dataset 'digits' needs scikit-learn: pip install "
            f'"keras_gce[data]". Received: {error}'
        ) from error
    source = load_digits()
    images = _resized(source.images / source.images.max(), SIZE)
    images = np.rint(255 * images).astype(np.uint8)[..., None]
    labels = source.target.astype(np.int32)
    in_test = _test_mask(labels)
    return (
        Split(images[~in_test], labels[~in_test]),
        Split(images[in_test], labels[in_test]),
        tuple(str(name) for name in source.target_names),
    )


def _test_mask(labels: np.ndarray) -> np.ndarray:
    # RandomState, whose stream NumPy has frozen for good, as it has not
    # default_rng's: the test part must be the same in every version.
    order = np.random.RandomState(0).permutation(len(labels))
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mask[order[labels[order] == label][:TEST_PER_CLASS]] = True
    return mask


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    rows = _interpolation(images.shape[1], size)
    columns = _interpolation(images.shape[2], size)
    return rows @ images @ columns.T


def _interpolation(old: int, new: int) -> np.ndarray:
    """Returns the (new, old) matrix of bilinear resizing, pixel centres aligned."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))

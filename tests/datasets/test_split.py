"""`Split`: images and labels in memory."""

import numpy as np
import pytest

from keras_gce import datasets
from keras_gce.errors import InputError


def test_arrays(split):
    images, labels = split.arrays()
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(images, split.images.astype("float32") / 255)
    floats = datasets.Split(images.astype("float64"), split.labels)
    np.testing.assert_array_equal(floats.arrays()[0], images)


def test_take(split):
    assert split.take(4).labels.tolist() == [0, 1, 2, 3]
    chosen = split.take(10, seed=3)
    assert chosen.labels.tolist() != list(range(10))
    assert len(set(chosen.labels.tolist())) == 10
    assert split.take(5, seed=3).labels.tolist() == chosen.labels.tolist()[:5]
    np.testing.assert_array_equal(chosen.images, split.images[chosen.labels])
    assert len(split.take(0)) == 0


@pytest.mark.parametrize("n", [24, -1, 2.0, None, True])
def test_take_refuses(n, split):
    with pytest.raises(InputError, match=rf"in \[0, 23\].* Received: n={n!r}"):
        split.take(n)


@pytest.mark.parametrize("batch_size", [0, -2, 1.5, None])
def test_batches_refuses(batch_size, split):
    with pytest.raises(InputError, match=f"Received: batch_size={batch_size!r}"):
        split.batches(batch_size)


def test_split_refuses():
    images = np.zeros((3, 4, 4, 1), "uint8")
    with pytest.raises(InputError, match=r"Received: images=uint8 \(3, 4, 4\)"):
        datasets.Split(images[..., 0], np.arange(3))
    with pytest.raises(InputError, match=r"Received: images=int64 \(3, 4, 4, 1\)"):
        datasets.Split(images.astype("int64"), np.arange(3))
    with pytest.raises(InputError, match=r"Received: labels=int64 \(2,\)"):
        datasets.Split(images, np.arange(2))
    with pytest.raises(InputError, match=r"Received: labels=float64 \(3,\)"):
        datasets.Split(images, np.zeros(3))

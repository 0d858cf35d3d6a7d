"""MNIST and the CIFARs through TFDS, and the message where they can't be had."""

import pathlib
import time

import numpy as np
import pytest

from keras_gce import datasets
from keras_gce.errors import InputError

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).resolve().parents[2]
TFDS_DIR = ROOT.parent / "shared" / "data" / "tfds"
needs_tfds_data = pytest.mark.skipif(
    not TFDS_DIR.is_dir(), reason=f"needs the TFDS data folder {TFDS_DIR}"
)


@needs_tfds_data
def test_mnist(monkeypatch, capfd):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(TFDS_DIR))
    data = datasets.load("mnist")
    assert capfd.readouterr().out == ""
    # LeCun's MNIST: 60,000 and 10,000 images; 5,923 zeros in train, 980 in test; the
    # mean of train is 33.3184, the 0.1307 * 255 of so many normalisations.
    assert [len(part) for part in (data.train, data.validation)] == [54_000, 6_000]
    assert len(data.test) == 10_000
    pixels = sum(part.images.sum() for part in (data.train, data.validation))
    assert pixels / (60_000 * 784) == pytest.approx(33.3184, abs=5e-5)
    zeros = sum((part.labels == 0).sum() for part in (data.train, data.validation))
    assert (zeros, (data.test.labels == 0).sum()) == (5_923, 980)
    assert data.class_names == tuple("0123456789")
    assert data.train.images.shape == (54_000, 28, 28, 1)


@needs_tfds_data
def test_cifar10():
    pytest.importorskip("tensorflow_datasets")
    data = datasets.load("cifar10", data_dir=TFDS_DIR, validation=0)
    # Krizhevsky 2009: 5,000 and 1,000 images of each class. The mean of train is
    # (125.31, 122.95, 113.87); the copy here went through JPEG at quality 75.
    assert np.bincount(data.train.labels).tolist() == [5_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert data.train.images.shape == (50_000, 32, 32, 3)
    assert data.num_classes == 10
    means = [data.train.images[..., channel].mean() for channel in range(3)]
    np.testing.assert_allclose(means, (125.31, 122.95, 113.87), atol=2)


def unreachable(*args, **kwargs):
    raise OSError("no\nnetwork")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_data_that_cannot_be_had(name, tmp_path, monkeypatch, capfd):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
    for data_dir in (None, tmp_path / "argument"):
        start = time.monotonic()
        with pytest.raises(InputError) as caught:
            datasets.load(name, data_dir=data_dir)
        assert time.monotonic() - start < 10
        message = str(caught.value)
        assert repr(name) in message
        assert str(data_dir or tmp_path / "variable") in message
        assert "TFDS_DATA_DIR" in message
        assert "no network" in message
        assert "\n" not in message
        assert isinstance(caught.value.__cause__, OSError)
    assert not list(tmp_path.iterdir())
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")

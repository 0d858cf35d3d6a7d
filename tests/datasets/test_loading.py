"""`load`: the cut of the validation part, and what is refused."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from keras_gce import datasets, names
from keras_gce.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_validation_is_cut_from_train_by_the_seed(digits):
    whole = datasets.load("digits", validation=0)
    assert len(whole.validation) == 0
    assert whole.validation.images.shape == (0, 28, 28, 1)
    assert len(whole.train) == 1437
    again, other = datasets.load("digits"), datasets.load("digits", seed=1)
    np.testing.assert_array_equal(again.validation.images, digits.validation.images)
    assert not np.array_equal(other.validation.labels, digits.validation.labels)
    together = np.concatenate([digits.train.images, digits.validation.images])
    assert sorted(map(bytes, together)) == sorted(map(bytes, whole.train.images))


def test_one_training_example_stays(tmp_path):
    images, labels = np.zeros((6, 8, 8), "uint8"), np.arange(6)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "data.npz", **arrays)
    data = datasets.load(tmp_path / "data.npz", validation=0.999)
    assert (len(data.train), len(data.validation)) == (1, 5)


@pytest.mark.parametrize("validation", [1, 1.5, -0.1, float("nan"), "0.1", None, True])
def test_refuses_validation(validation):
    received = re.escape(f"Received: validation={validation!r}")
    with pytest.raises(InputError, match=f"`validation` must .* {received}"):
        datasets.load("digits", validation=validation)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "0"])
def test_refuses_seed(seed):
    with pytest.raises(InputError, match=re.escape(f"Received: seed={seed!r}")):
        datasets.load("digits", seed=seed)


@pytest.mark.parametrize("name", ["minst", "", 3, None, b"digits.npz"])
def test_unknown_name(name):
    with pytest.raises(InputError) as caught:
        datasets.load(name)
    message = str(caught.value)
    hint = "; did you mean mnist?" if name == "minst" else ""
    assert message.endswith(f"Received: name={name!r}{hint}")
    assert all(known in message for known in names.DATASETS)
    assert datasets.NAMES == names.DATASETS


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("MNIST", "; did you mean mnist?"),
        ("mnits", "; did you mean mnist?"),
        ("cifar-10", "; did you mean cifar10?"),
        ("CIFAR_100", "; did you mean cifar100?"),
        ("Tiny-ImageNet", "; did you mean tiny_imagenet?"),
        ("digit", "; did you mean digits?"),
        ("svhn", "name='svhn'"),
        ("mine", "; did you mean mine.npz?"),
        ("mine.npy", "; did you mean mine.npz?"),
        ("Mine.npz", "; did you mean mine.npz?"),
        ("pictrues", "; did you mean pictures?"),
        ("other/mine.npz", "There is no file other/mine.npz"),
        ("other/pictures", ", where there is no file or folder"),
        ("notes.txt", ", a file of another kind; numpy.savez_compressed writes"),
    ],
)
def test_what_was_meant(name, end, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError) as caught:
        datasets.load(name)
    assert end in str(caught.value)
    assert end.startswith(", a file") or str(caught.value).endswith(end)


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), 255, (0, 1, 2), (0, "x"), "all"])
def test_refuses_bounds(bounds):
    with pytest.raises(InputError, match=re.escape(f"Received: bounds={bounds!r}")):
        datasets.load("digits", bounds=bounds)


@pytest.mark.parametrize(
    "name, module, package",
    [
        ("mnist", "tensorflow_datasets", r'"keras_gce\[tensorflow,data'),
        ("digits", "sklearn.datasets", r'"keras_gce\[data\]"'),
    ],
)
def test_library_that_is_not_installed(name, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(InputError, match=f"{name!r} needs .*pip install {package}"):
        datasets.load(name)


@pytest.mark.integration
def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys; from keras_gce import datasets\n"
        "before = set(sys.modules)\n"
        "datasets.load('digits').train.arrays()\n"
        "print('tensorflow_datasets' in sys.modules,\n"
        "      'keras_gce.datasets.digits' in before,\n"
        "      'keras_gce.datasets.tf_batches' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["False", "False", "False"], done.stderr

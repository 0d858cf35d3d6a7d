"""Datasets in an .npz file with Keras's keys."""

import re
import sys

import numpy as np
import pytest

from keras_gce import datasets
from keras_gce.errors import InputError


def save(folder, name="data.npz", **changes):
    arrays = {
        "x_train": np.full((6, 8, 8), 51, "uint8"),
        "y_train": np.arange(6, dtype="uint8")[:, None] % 3,
        "x_test": np.zeros((2, 8, 8), "uint8"),
        "y_test": np.array([3, 0]),
    }
    arrays.update(changes)
    kept = {key: value for key, value in arrays.items() if value is not None}
    np.savez(folder / name, **kept)
    return folder / name


def test_npz(tmp_path):
    path = save(tmp_path)
    data = datasets.load(path, validation=0)
    assert data.name == str(path)
    assert data.num_classes == 4
    assert data.class_names == ("0", "1", "2", "3")
    assert data.train.images.shape == (6, 8, 8, 1)
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.train.arrays()[0].max() == np.float32(51) / np.float32(255)


def test_npz_in_the_data_folder_takes_the_place_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    save(tmp_path, "cifar10.npz")
    data = datasets.load("cifar10", data_dir=tmp_path, validation=0)
    assert (data.name, len(data.train), data.num_classes) == ("cifar10", 6, 4)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(datasets.load("cifar10", validation=0).test) == 2
    with pytest.raises(InputError, match=r"put mnist\.npz, with the keys"):
        datasets.load("mnist")


def test_npz_floats(tmp_path):
    images = np.full((6, 8, 8, 3), 0.25)
    path = save(tmp_path, x_train=images, x_test=images[:2])
    data = datasets.load(str(path), validation=0)
    np.testing.assert_array_equal(data.train.arrays()[0], images.astype("float32"))


def test_npz_of_another_byte_order(tmp_path):
    images = np.full((6, 8, 8), 0.25, ">f4")
    data = datasets.load(save(tmp_path, x_train=images, x_test=images[:2]))
    assert data.test.images.dtype == np.dtype("float32")
    np.testing.assert_array_equal(data.test.images, 0.25)


@pytest.mark.parametrize("form", ["one-hot", "whole floats", "column of floats"])
def test_npz_labels_in_the_forms_that_keras_has(tmp_path, form):
    images = np.zeros((6, 8, 8), "uint8")
    labels = np.array([0, 1, 1, 0, 1, 0])
    stored = {
        "one-hot": np.eye(3)[labels],
        "whole floats": labels.astype("float32"),
        "column of floats": labels.astype("float64")[:, None],
    }[form]
    arrays = {"x_train": images, "y_train": stored, "x_test": images, "y_test": stored}
    np.savez(tmp_path / "data.npz", **arrays)
    data = datasets.load(tmp_path / "data.npz", validation=0)
    np.testing.assert_array_equal(data.train.labels, labels)
    # A column for a class that does not occur is a class.
    assert data.num_classes == (3 if form == "one-hot" else 2)


@pytest.mark.parametrize(
    "keys", ["x_test y_test", "x y", "images labels", "test_images test_labels"]
)
def test_the_test_part_alone(tmp_path, keys):
    arrays = np.zeros((2, 8, 8), "uint8"), np.array([3, 1])
    path = tmp_path / "data.npz"
    # What else is there is not looked at.
    np.savez(path, **dict(zip(keys.split(), arrays, strict=True)), names=["a", "b"])
    data = datasets.load(path)
    assert (len(data.train), len(data.validation), len(data.test)) == (0, 0, 2)
    assert data.train.images.shape == (0, 8, 8, 1)
    assert (data.num_classes, data.test.labels.tolist()) == (4, [3, 1])


def test_the_test_part_alone_takes_no_place_of_a_dataset(tmp_path):
    save(tmp_path, "mnist.npz", x_train=None, y_train=None)
    with pytest.raises(InputError, match=r"mnist\.npz must hold x_train and y_train"):
        datasets.load("mnist", data_dir=tmp_path)


def test_what_may_be_either_is_neither(tmp_path):
    x, y = np.zeros((2, 8, 8), "uint8"), np.array([3, 1])
    for keys in ({"x": x, "y": y, "images": x, "labels": y}, {"arr_0": x, "arr_1": y}):
        np.savez(tmp_path / "data.npz", **keys)
        with pytest.raises(InputError, match=f"Received: {', '.join(keys)}"):
            datasets.load(tmp_path / "data.npz")


def test_a_validation_part_of_its_own(tmp_path):
    images, labels = np.full((3, 8, 8), 7, "uint8"), np.array([0, 1, 5])
    data = datasets.load(save(tmp_path, x_val=images, y_val=labels), validation=0.5)
    assert (len(data.train), data.validation.labels.tolist()) == (6, [0, 1, 5])
    assert data.num_classes == 6


def test_whole_numbers_of_another_type(tmp_path):
    images = np.full((6, 8, 8), 255)
    data = datasets.load(save(tmp_path, x_train=images, x_test=images[:2]))
    assert data.test.images.dtype == np.uint8 and data.test.arrays()[0].min() == 1


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 255, "uint8"), (-1, 1, "float32"), (-2.12, 2.64, "float32")],
)
def test_floats_in_the_unit_of_bounds(tmp_path, low, high, dtype):
    """Each part is in the file's unit, also one that happens to be in [0, 1]."""
    shares = np.linspace(0, 1, 256)
    images = (low + (high - low) * shares).astype("float32").reshape(4, 8, 8)
    images = np.rint(images) if dtype == "uint8" else images
    dark = np.full((2, 8, 8), 1, "float32")
    path = save(tmp_path, x_train=images, y_train=[0, 1, 2, 3], x_test=dark)
    data = datasets.load(path, validation=0, bounds=(low, high))
    assert data.train.images.dtype == data.test.images.dtype == dtype
    np.testing.assert_allclose(data.train.arrays()[0].ravel(), shares, atol=1e-6)
    np.testing.assert_allclose(data.test.arrays()[0], (1 - low) / (high - low), 1e-6)
    with pytest.raises(InputError, match="`bounds` says in which unit they are"):
        datasets.load(path)


def test_floats_that_are_in_no_unit(tmp_path):
    path = save(tmp_path, x_train=np.full((6, 8, 8), 300.0), x_test=np.ones((2, 8, 8)))
    with pytest.raises(InputError, match=r"bounds=\(0.0, 255.0\), .* 300.0 to 300.0$"):
        datasets.load(path, bounds=(0, 255))


def test_floats_in_0_to_1_are_so_whatever_the_bounds(tmp_path):
    images = np.linspace(0, 1, 6 * 64).reshape(6, 8, 8)
    path = save(tmp_path, x_train=images, x_test=images[:2])
    data = datasets.load(path, validation=0, bounds=(0, 255))
    np.testing.assert_array_equal(data.train.images[..., 0], images)


@pytest.mark.parametrize(
    "changes, received",
    [
        ({"x_test": None}, "Received: x_train, y_train, y_test"),
        ({"x_train": np.zeros((6, 8), "uint8")}, "Received: x_train=uint8 (6, 8)"),
        ({"x_train": np.zeros((0, 8, 8), "uint8")}, "x_train=uint8 (0, 8, 8, 1)"),
        ({"x_train": np.zeros((6, 8, 8), "int64")}, "x_train=int64 (6, 8, 8, 1)"),
        ({"x_train": np.full((6, 8, 8), 255.0)}, "float64 from 255.0 to 255.0"),
        ({"x_train": np.full((6, 8, 8), -0.5)}, "float64 from -0.5 to -0.5"),
        ({"x_train": np.full((6, 8, 8), np.nan)}, "float64 from nan to nan"),
        ({"x_train": np.zeros((6, 8, 9), "uint8")}, "x_test=uint8 (2, 8, 8)"),
        ({"x_train": np.zeros((6, 8, 8))}, "x_test=uint8 (2, 8, 8)"),
        ({"x_train": np.full((6, 8, 8), 256)}, "int64 from 256 to 256"),
        ({"x_train": np.full((6, 8, 8), -3)}, "int64 from -3 to -3"),
        ({"x_train": np.zeros((6, 8, 8), bool)}, "x_train=bool (6, 8, 8, 1)"),
        ({"y_train": np.arange(5)}, "Received: 5 labels for 6 images"),
        ({"y_test": np.zeros((3, 1), int)}, "Received: 3 labels for 2 images"),
        ({"y_train": np.arange(1, 7), "y_test": [1, 2]}, "the labels start at 1"),
        ({"y_train": np.array(["ape"] * 6)}, "Received: y_train=<U3 (6,)"),
        ({"y_train": None}, "Received: x_train, x_test, y_test"),
        ({"y_train": np.zeros((6, 10), int)}, "Received: y_train=int64 (6, 10)"),
        ({"y_train": np.full(6, 0.5)}, "Received: y_train=float64 (6,)"),
        ({"y_train": np.full((6, 2), 0.5)}, "Received: y_train=float64 (6, 2)"),
        ({"y_test": np.array([0, -1])}, "Received: labels from -1 to 0"),
        ({"y_test": np.array([0, 10**12])}, "from 0 to 1000000000000"),
        ({"y_train": np.zeros(6, int), "y_test": np.zeros(2, int)}, "no label but 0"),
        ({"x_train": np.array([None] * 6)}, "Object arrays cannot be loaded"),
    ],
)
def test_npz_refuses(changes, received, tmp_path):
    path = save(tmp_path, **changes)
    with pytest.raises(InputError, match=re.escape(received)) as caught:
        datasets.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npz_that_is_no_npz(tmp_path):
    missing, text, folder, array, cut = (
        tmp_path / f"{name}.npz" for name in ("missing", "text", "dir", "array", "cut")
    )
    text.write_text("not arrays")
    folder.mkdir()
    with array.open("wb") as file:
        np.save(file, np.zeros(3))
    cut.write_bytes(save(tmp_path).read_bytes()[:-200])
    for path in (missing, text, folder, array, cut):
        with pytest.raises(InputError, match=re.escape(str(path))) as caught:
            datasets.load(path)
        assert "\n" not in str(caught.value)
        # A folder of that name is taken for one of images.
        assert path is folder or caught.value.__cause__ is not None

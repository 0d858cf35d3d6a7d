"""Tests of keras_gce.datasets."""

import os
import pathlib
import re
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_gce import datasets
from keras_gce.datasets.py_batches import PyBatches
from keras_gce.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TFDS_DIR = ROOT.parent / "shared" / "data" / "tfds"
needs_tfds_data = pytest.mark.skipif(
    not TFDS_DIR.is_dir(), reason=f"needs the TFDS data folder {TFDS_DIR}"
)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (23, 9, 7, 3), dtype="uint8")
    return datasets.Split(images, np.arange(23))


def tf_batches(split, *args, **options):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tf.data pipeline is the TensorFlow backend's")
    return split.batches(*args, **options)


pipelines = pytest.mark.parametrize("batches", [tf_batches, PyBatches])


def listed(pipeline):
    return [(np.asarray(x), np.asarray(y)) for x, y in pipeline]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(x, a) and np.array_equal(y, b)
        for (x, y), (a, b) in zip(one, other, strict=True)
    )


# digits


def test_digits(digits):
    # scikit-learn's load_digits: 1,797 images, 174 to 183 a class.
    parts = digits.train, digits.validation, digits.test
    assert [len(part) for part in parts] == [1293, 144, 360]
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.test.images.dtype == np.uint8
    assert digits.test.images.shape == (360, 28, 28, 1)
    assert np.bincount(digits.test.labels).tolist() == [36] * 10
    images = np.concatenate([part.images for part in parts])
    assert (images.min(), images.max()) == (0, 255)


def test_digits_test_part_is_always_the_same(digits):
    other = datasets.load("digits", validation=0.5, seed=7)
    np.testing.assert_array_equal(other.test.images, digits.test.images)
    np.testing.assert_array_equal(other.test.labels, digits.test.labels)
    # From the first run of this code; a change would void every earlier figure.
    assert digits.test.labels[:10].tolist() == [4, 5, 6, 9, 4, 7, 8, 9, 9, 6]


def test_digits_are_resized_bilinearly(digits):
    tf = pytest.importorskip("tensorflow")
    source = pytest.importorskip("sklearn.datasets").load_digits().images
    expected = tf.image.resize(source[..., None] * (255 / 16), (28, 28)).numpy()
    parts = digits.train, digits.validation, digits.test
    ours = np.concatenate([part.images for part in parts]).astype("float32")
    assert ours.mean() == pytest.approx(expected.mean(), abs=0.05)
    # The test part is in another order than the source; 0.5 is the rounding.
    for image in ours[-20:]:
        assert np.abs(expected - image).max(axis=(1, 2, 3)).min() <= 0.501


# The validation part


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
    path = save(tmp_path)
    data = datasets.load(path, validation=0.999)
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
    assert message.endswith(f"Received: name={name!r}")
    assert all(known in message for known in datasets.NAMES)


# Split


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


# Batches: the same promises from tf.data and from the PyDataset


@pipelines
def test_batches_are_the_arrays_in_order(batches, split):
    found = listed(batches(split, 5))
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 3]
    assert len(batches(split, 5)) == 5
    images, labels = split.arrays()
    x, y = (np.concatenate(part) for part in zip(*found, strict=True))
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(x, images, rtol=1e-7, atol=0)
    np.testing.assert_array_equal(y, labels)
    floats = datasets.Split(images, labels)
    np.testing.assert_array_equal(listed(batches(floats, 23))[0][0], images)


@pipelines
def test_shuffled_anew_every_epoch_and_the_same_by_the_seed(batches, split):
    pipeline, twin = (batches(split, 5, shuffle=True, seed=4) for _ in range(2))
    first, second = listed(pipeline), listed(pipeline)
    assert not same(first, second)
    assert same(first, listed(twin))
    assert same(second, listed(twin))
    assert not same(first, listed(batches(split, 5, shuffle=True, seed=5)))
    labels = np.concatenate([y for _, y in first])
    assert sorted(labels.tolist()) == list(range(23))
    for x, y in first:
        np.testing.assert_allclose(x, split.arrays()[0][y], rtol=1e-7, atol=0)


@pipelines
def test_augmented_anew_every_epoch_and_the_same_by_the_seed(batches, split):
    pipeline, twin = (batches(split, 5, augment=True, seed=4) for _ in range(2))
    first, second = listed(pipeline), listed(pipeline)
    assert not same(first, second)
    assert same(first, listed(twin))
    assert same(second, listed(twin))
    assert not same(first, listed(batches(split, 5, augment=True, seed=5)))
    assert [x.shape for x, _ in first][-2:] == [(5, 9, 7, 3), (3, 9, 7, 3)]


@pipelines
def test_augmentation_is_pad_crop_and_flip(batches, split):
    padded = np.pad(split.arrays()[0], ((0, 0), (4, 4), (4, 4), (0, 0)))
    seen = set()
    pipeline = batches(split, 23, augment=True, seed=0)
    for _ in range(4):
        ((x, y),) = listed(pipeline)
        for image, label in zip(x, y, strict=True):
            crops = {
                (top, left, step): padded[label, top : top + 9, left : left + 7][
                    :, ::step
                ]
                for top in range(9)
                for left in range(9)
                for step in (1, -1)
            }
            found = [key for key, crop in crops.items() if np.allclose(crop, image)]
            assert found
            seen.add(found[0])
    # 92 draws of 162 possibilities: all 9 offsets and both directions should occur.
    assert [len({key[axis] for key in seen}) for axis in range(3)] == [9, 9, 2]


def test_all_epochs_share_one_tensor(split):
    one, other = PyBatches(split, 5), PyBatches(split, 7, shuffle=True)
    assert one._images is other._images
    alike = datasets.Split(split.images, split.labels)
    assert PyBatches(alike, 5)._images is not one._images


def test_all_pipelines_share_one_tensor(split, tf):
    def captured(pipeline):
        """The images that the pipeline holds, by their identity."""
        while not hasattr(pipeline, "_map_func"):
            pipeline = pipeline._input_dataset
        tensors = pipeline._map_func.function.captured_inputs
        return {id(t) for t in tensors if t.shape == split.images.shape}

    pipelines = [split.batches(5), split.batches(7, shuffle=True, augment=True)]
    assert captured(pipelines[0]) == captured(pipelines[1])
    assert len(captured(pipelines[0])) == 1
    # Made in a compiled function too, it is no tensor of that function's.
    alike = datasets.Split(split.images, split.labels)

    @tf.function
    def compiled():
        alike.batches(5)

    compiled()
    assert same(listed(alike.batches(5)), listed(split.batches(5)))


@pipelines
def test_the_tensor_goes_with_the_split(batches, split):
    import gc
    import weakref

    from keras_gce.datasets import py_batches

    kept = [py_batches._IMAGES]
    if batches is tf_batches:
        batches(split, 5)
        kept = [sys.modules["keras_gce.datasets.tf_batches"]._IMAGES]
    alike = datasets.Split(split.images.copy(), split.labels)
    listed(batches(alike, 5))
    assert alike in kept[0]
    gone = weakref.ref(alike)
    del alike
    gc.collect()
    assert gone() is None


@pipelines
def test_fit_takes_batches(batches, split):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(23)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # shuffle=False, or Keras warns, for a tf.data.Dataset.
    pipeline = batches(split, 5, shuffle=True, augment=True)
    history = model.fit(pipeline, epochs=2, shuffle=False, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    assert model.input_shape[1:] == (9, 7, 3)


# .npz files


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
        ({"y_train": np.arange(5)}, "Received: y_train=int64 (5,)"),
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
        assert caught.value.__cause__ is not None


# TFDS


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


@pytest.mark.parametrize(
    "name, module, package",
    [
        ("mnist", "tensorflow_datasets", r'"keras_gce\[tensorflow,data'),
        ("digits", "sklearn.datasets", "scikit-learn"),
    ],
)
def test_library_that_is_not_installed(name, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(InputError, match=f"{name!r} needs .*pip install {package}"):
        datasets.load(name)


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

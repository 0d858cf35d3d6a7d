"""A folder with one subfolder of images a class."""

import re
import shutil
import sys

import keras
import numpy as np
import pytest
from pictures import CLASSES, write_classes

from keras_gce import datasets
from keras_gce.errors import InputError

pytest.importorskip("tensorflow")  # Keras's reader is of it.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A test part alone."""
    return write_classes(tmp_path_factory.mktemp("folder") / "flat")


@pytest.fixture
def folder(made, tmp_path):
    """The same, to be spoilt."""
    return shutil.copytree(made, tmp_path / "flat")


def shade(labels):
    return 80 * labels + 10


def test_the_test_part_alone(made):
    data = datasets.load(made)
    assert (data.class_names, data.num_classes) == (CLASSES, 3)
    assert (len(data.train), len(data.validation)) == (0, 0)
    assert data.train.images.shape == (0, 8, 10, 3)
    assert data.test.images.dtype == np.uint8
    assert data.test.images.shape == (12, 8, 10, 3)
    # JPEG is not exact.
    means = data.test.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, shade(data.test.labels), atol=4)


def test_images_are_those_of_keras(made):
    data = datasets.load(made, image_size=(5, 6))
    x, y = (
        np.concatenate(part)
        for part in zip(
            *keras.utils.image_dataset_from_directory(
                made, image_size=(5, 6), shuffle=False, verbose=False
            ),
            strict=True,
        )
    )
    assert not np.array_equal(x, np.rint(x))  # What is rounded is not whole before.
    ours = sorted(zip(data.test.labels, map(bytes, data.test.images), strict=True))
    theirs = [bytes(image) for image in np.rint(x).astype("uint8")]
    assert ours == sorted(zip(y, theirs, strict=True))


def test_the_first_images_are_of_all_classes_and_always_the_same(made):
    first, again = (datasets.load(made, seed=seed).test.take(6) for seed in (0, 1))
    assert set(first.labels.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(first.images, again.images)


@pytest.mark.parametrize(
    ("image_size", "channels", "shape"),
    [(6, None, (6, 6, 3)), ([4, 5], 4, (4, 5, 4)), ((7, 3), 3, (7, 3, 3))],
)
def test_size_and_channels(tmp_path, image_size, channels, shape):
    folder = write_classes(tmp_path / "png", kinds=(".png",))
    data = datasets.load(folder, image_size=image_size, channels=channels)
    assert data.test.images.shape == (12, *shape)


def test_grey(tmp_path):
    folder = write_classes(tmp_path / "grey", kinds=(".png", ".jpg"))
    data = datasets.load(folder, channels=1)
    assert data.test.images.shape == (12, 8, 10, 1)
    means = data.test.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, shade(data.test.labels), atol=4)


@pytest.mark.parametrize("own", ["val", "Valid", "validation", None])
def test_parts(made, tmp_path, own):
    for part in ("train", "test", own):
        if part:
            shutil.copytree(made, tmp_path / part)
    (tmp_path / "annotations").mkdir()  # Without images it is no part and no class.
    # A class may be missing in the test part; the labels are those of train.
    shutil.rmtree(tmp_path / "test" / "ape")
    data = datasets.load(tmp_path, validation=0.25)
    assert data.class_names == CLASSES
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert sizes == ([12, 12, 8] if own else [9, 3, 8])
    assert set(data.test.labels.tolist()) == {1, 2}
    means = data.test.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, shade(data.test.labels), atol=4)


def test_the_test_part_without_the_rest(made, tmp_path):
    for part in ("train", "test"):
        shutil.copytree(made, tmp_path / part)
    shutil.rmtree(tmp_path / "test" / "ape")
    for file in (tmp_path / "train").rglob("*.png"):
        file.write_bytes(b"never read")
    data = datasets.load(tmp_path, test_only=True)
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert (sizes, data.class_names) == ([0, 0, 8], CLASSES)
    assert set(data.test.labels.tolist()) == {1, 2}
    assert not len(datasets.load("digits", test_only=True).train)


def test_what_lies_beside_and_inside(folder):
    """Hidden folders and macOS's are no classes; deeper images are of the class."""
    for name in (".git", "__MACOSX", "empty"):
        (folder / name).mkdir()
    (folder / "notes.txt").write_text("")
    (folder / "ape" / "Thumbs.db").write_text("")
    shutil.move(folder / "bee" / "0.png", folder / "bee" / "deeper.png")
    (folder / "bee" / "more").mkdir()
    shutil.move(folder / "bee" / "deeper.png", folder / "bee" / "more" / "0.png")
    data = datasets.load(folder)
    # A folder without images is a class all the same, as Keras has it.
    assert data.class_names == (*CLASSES, "empty")
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]


def test_a_class_by_the_name_of_a_part(folder):
    (folder / "cat").rename(folder / "test")
    assert datasets.load(folder).class_names == ("ape", "bee", "test")


def spoil(folder, kind):
    """Returns the arguments of a load that has to fail."""
    first = folder / "ape" / "0.png"
    whole = first.read_bytes()
    if kind in ("no image", "empty file", "cut off"):
        data = {"no image": b"no image", "empty file": b"", "cut off": whole[:60]}
        first.write_bytes(data[kind])
    elif kind == "hidden file":
        (folder / "ape" / "._0.png").write_bytes(whole)
    elif kind == "hidden folder":
        shutil.copytree(folder / "bee", folder / "ape" / ".ipynb_checkpoints")
    elif kind == "other kind":
        (folder / "ape" / "0.webp").write_bytes(whole)
    elif kind == "sizes":
        keras.utils.save_img(folder / "cat" / "9.png", np.zeros((3, 4, 3)))
    elif kind == "one class":
        return (write_classes(folder / "one", classes=("ape",), count=1),), {}
    elif kind == "unpacked":
        return (folder.parent,), {}
    elif kind == "images only":
        return (folder / "ape",), {}
    elif kind == "no images":
        for name in CLASSES:
            shutil.rmtree(folder / name)
            (folder / name).mkdir()
    elif kind == "nothing":
        (folder / "new").mkdir()
        return (folder / "new",), {}
    else:
        root = folder.parent / "parts"
        for part in kind.split():
            shutil.copytree(folder, root / part)
        if kind == "train test":
            (root / "test" / "ape").rename(root / "test" / "ant")
        return (root,), {}
    return (folder,), {}


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("no image", "ape/0.png (Unknown image file format"),
        ("empty file", "ape/0.png (Input is empty"),
        ("cut off", "ape/0.png ("),
        ("hidden file", "ape/._0.png"),
        ("hidden folder", "ape/.ipynb_checkpoints/0.png"),
        ("other kind", "ape/0.webp"),
        ("sizes", "ape/0.png of 8 x 10"),
        ("sizes", "cat/9.png of 3 x 4"),
        ("one class", "at least 2 classes. Received: ape"),
        ("unpacked", "Received: flat; did you mean"),
        ("images only", "Received: images beside each other"),
        ("no images", "Received: none"),
        ("nothing", "Received: no subfolder"),
        ("train test", "Received: ant"),
        ("train", "parts/train. Received: train"),
        ("train val", "parts/train. Received: train, val"),
        ("train test others", "Received: test, train, others"),
        ("test val valid", "Received: test, val, valid"),
    ],
)
def test_refuses(kind, received, folder):
    names, options = spoil(folder, kind)
    with pytest.raises(InputError, match=re.escape(received)) as caught:
        datasets.load(*names, **options)
    assert "\n" not in str(caught.value)
    if kind == "sizes":
        assert "`image_size` must be given" in str(caught.value)
        assert len(datasets.load(*names, image_size=4).test) == 13
    if kind == "no image":  # The reader meets it where no size is looked for, too.
        with pytest.raises(InputError, match=re.escape(received)):
            datasets.load(*names, image_size=4)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": (8, 0.5)}, "image_size=0.5"),
        ({"image_size": (1, 2, 3)}, "image_size=(1, 2, 3)"),
        ({"image_size": "8"}, "image_size='8'"),
        ({"channels": 2}, "channels=2"),
    ],
)
def test_refuses_options(options, received, made):
    with pytest.raises(InputError, match=re.escape(f"Received: {received}")):
        datasets.load(made, **options)
    with pytest.raises(InputError, match="is for a folder of images"):
        datasets.load("digits", **options)


def test_tensorflow_that_is_not_installed(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_gce.datasets.tf_images", None)
    monkeypatch.delattr(datasets, "tf_images", raising=False)
    with pytest.raises(InputError, match="needs TensorFlow.*pip install tensorflow"):
        datasets.load(made)

    def reader(*args, **kwargs):
        raise ImportError("This requires the tensorflow module.")  # Keras's words.

    monkeypatch.setattr(keras.utils, "image_dataset_from_directory", reader)
    with pytest.raises(InputError, match="needs TensorFlow.*pip install tensorflow"):
        datasets.load(made, image_size=4)

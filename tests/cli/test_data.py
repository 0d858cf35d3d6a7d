"""Data on the command line: what is taken, what is refused, and in which words."""

import re
import shutil

import keras
import numpy as np
import pytest
from pictures import CLASSES, write_classes

from keras_gce import cli, saving
from keras_gce.classifier import Classifier
from keras_gce.cli import data
from keras_gce.evaluation import RobustnessReport
from keras_gce.evaluation.images import data_arrays

pytest.importorskip("tensorflow")  # Keras's reader of folders is of it.

ATTACK = ("--eps", "0.1", "--attacks", "fgsm", "--threat-model", "crossentropy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that most tests leave as it is: files, images, and a model."""
    folder = tmp_path_factory.mktemp("data")
    write_classes(folder / "flat")
    for part in ("train", "test"):
        write_classes(folder / "parts" / part, count=8)
    shutil.copytree(folder / "flat", folder / "torn")
    (folder / "torn" / "bee" / "0.png").write_bytes(b"no image")
    shutil.copytree(folder / "flat", folder / "sizes")
    keras.utils.save_img(folder / "sizes" / "bee" / "9.png", np.zeros((3, 4, 3)))
    (folder / "data.npy").touch()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), "uint8")
    labels = np.arange(6) % 3
    arrays = {
        "alone": {"x_test": images, "y_test": labels},
        "short": {"x_test": images, "y_test": labels[:5]},
        "from_1": {"x_test": images, "y_test": labels + 1},
        "first": {"x_test": np.moveaxis(images, -1, 1), "y_test": labels},
        "floats": {"x_test": images.astype("float32"), "y_test": np.eye(3)[labels]},
        "two": {"x_test": images, "y_test": (labels % 2).astype("float64")},
    }
    arrays["whole_first"] = arrays["first"] | {
        "x_train": arrays["first"]["x_test"],
        "y_train": labels,
    }
    for name, one in arrays.items():
        np.savez(folder / f"{name}.npz", **one)
    save(folder / "model.keras", (8, 10, 3))
    save(folder / "grey.keras", (8, 10, 1))
    channels_first = keras.layers.ZeroPadding2D(0, data_format="channels_first")
    save(folder / "first.keras", (3, 8, 10), channels_first)
    save(folder / "many.keras", (8, 10, 7))
    save(folder / "open.keras", (None, None, 3), keras.layers.GlobalMaxPooling2D())
    return folder


def save(path, shape, *layers):
    scale, flat = keras.layers.Rescaling(1 / 255), keras.layers.Flatten()
    out = keras.layers.Dense(3)
    keras.Sequential([keras.Input(shape), *layers, scale, flat, out]).save(path)


TRAIN = ("train", "--output", "m.keras", "--dataset")
TUNE = ("tune", "--eps", "0.1", "--dataset")


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ("MNIST", "--dataset 'MNIST'; did you mean mnist?"),
        ("minst", "--dataset 'minst'; did you mean mnist?"),
        ("cifar-10", "; did you mean cifar10?"),
        ("svhn", "`--dataset` must be one of digits, mnist,"),
        ("data.npy", "a file of another kind; numpy.savez"),
        ("alone.npy", "; did you mean alone.npz?"),
        ("no/folder", "where there is no file or folder"),
        ("none.npz", "There is no file none.npz"),
        ("flat --image-size 0", "must be an integer >= 1. Received: 0"),
        ("flat --image-size 8 10 3", "--image-size (8, 10, 3)"),
        ("alone.npz --image-size 8", "`--image-size` is"),
        ("flat --image-size 4", "shape (12, 4, 4, 3)"),
        ("torn", "torn/bee/0.png (Unknown image file format"),
        ("flat/bee", "images beside each other"),
        ("short.npz", "`--dataset`: In short.npz, y_test must hold one label"),
        ("short.npz", "5 labels for 6 images"),
        ("from_1.npz", "with 3; do the labels start at 1?"),
        ("first.npz", "; are its channels first, and the model's last?"),
        ("floats.npz", "`--bounds` says in which unit they are"),
        ("floats.npz --bounds 0 99", "all within --bounds (0.0, 99.0)"),
        ("floats.npz --bounds 9 0", "`--bounds` must be two finite numbers"),
        ("flat", "many.keras, for images of shape (8, 10, 7)"),
    ],
)
def test_what_evaluate_refuses(arguments, received, folder, refused, monkeypatch):
    monkeypatch.chdir(folder)
    model = "many.keras" if received.startswith("many") else "model.keras"
    line = refused("evaluate", model, *ATTACK, "--dataset", *arguments.split())
    assert received in line, line
    assert "`name`" not in line and "`x`" not in line
    # Each says which option it is about; argparse has its own words for it.
    assert re.search("`--|argument --|MODEL must", line), line


@pytest.mark.parametrize("command", [TRAIN, TUNE])
@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ("minst", "--dataset 'minst'; did you mean mnist?"),
        ("flat", "--dataset flat, the test part alone"),
        ("alone.npz", "--dataset alone.npz, the test part alone"),
        ("whole_first.npz", ", 3, 8, 10); are its channels first?"),
        ("sizes", "`--image-size` must be given where the images are of several"),
    ],
)
def test_what_trainings_refuse(
    command, arguments, received, folder, refused, tmp_path, monkeypatch
):
    if command is TUNE:
        pytest.importorskip("keras_tuner")
    monkeypatch.chdir(tmp_path)
    for one in folder.iterdir():
        (tmp_path / one.name).symlink_to(one)
    line = refused(*command, *arguments.split())
    assert received in line, line


@pytest.mark.parametrize(
    ("model", "arguments", "shape", "unit"),
    [
        ("model", "flat --bounds 0 255", (12, 8, 10, 3), 255),
        ("model", "flat", (12, 8, 10, 3), 1),
        ("model", "parts --bounds 0 255", (24, 8, 10, 3), 255),
        ("model", "sizes", (13, 8, 10, 3), 1),
        ("model", "flat --image-size 8 10", (12, 8, 10, 3), 1),
        ("first", "flat", (12, 3, 8, 10), 1),
        ("open", "flat", (12, 8, 10, 3), 1),
        ("open", "sizes --image-size 4 5", (13, 4, 5, 3), 1),
        ("open", "sizes --image-size 6", (13, 6, 6, 3), 1),
        ("model", "alone.npz", (6, 8, 10, 3), 1),
        ("model", "floats.npz --bounds 0 255", (6, 8, 10, 3), 255),
        ("model", "two.npz --bounds 0 255", (6, 8, 10, 3), 255),
    ],
)
def test_what_evaluate_takes(model, arguments, shape, unit, folder, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["evaluate", f"{model}.keras", *ATTACK, "--dataset", *arguments.split()]
    args = cli._parser().parse_args(command)
    dataset = data.load(args, Classifier(saving.load_model(args.model)))
    x, y = data_arrays(dataset.test, args.bounds)
    assert (x.shape, x.dtype, y.shape) == (shape, np.float32, shape[:1])
    assert unit * 0.6 < x.max() <= unit
    # Of a file whose labels tell of fewer classes than the model has, too.
    assert (dataset.num_classes, len(dataset.class_names)) == (3, 3)


def test_grey_images_for_a_grey_model(folder, tmp_path, monkeypatch):
    write_classes(tmp_path / "grey", kinds=(".png",))
    model = str(folder / "grey.keras")
    command = ["evaluate", model, *ATTACK, "--dataset", str(tmp_path / "grey")]
    dataset = data.load(
        cli._parser().parse_args(command), Classifier(saving.load_model(model))
    )
    assert dataset.test.images.shape == (12, 8, 10, 1)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("EfficientNetB0", "block1a_project_bn"),
        ("ConvNeXtTiny", "convnext_tiny_stem"),
    ],
)
def test_keras_applications_and_a_folder_without_a_line_of_python(
    name, last, folder, tmp_path, capsys
):
    """Preprocessing inside, pixels in [0, 255], images of another size.

    Of the network the beginning, with the preprocessing: the whole takes half a minute.
    docs/guides/image_folder.md has a whole one.
    """
    keras.utils.set_random_seed(0)
    whole = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    x = keras.layers.GlobalAveragePooling2D()(whole.get_layer(last).output)
    body, head = keras.Model(whole.input, x), keras.layers.Dense(3)
    model = keras.Model(whole.input, head(x))
    # What Keras makes of the same folder: classes, sizes, and the unit of the pixels.
    ((images, labels),) = keras.utils.image_dataset_from_directory(
        folder / "parts" / "test", image_size=(32, 32), batch_size=24, verbose=False
    )
    features = np.c_[body.predict(images, verbose=0), np.ones(24)]
    best = np.linalg.lstsq(features, np.eye(3)[labels], rcond=None)[0]
    head.set_weights([best[:-1], best[-1]])
    right = model.predict(images, verbose=0).argmax(-1) == labels.numpy()
    assert right.all()
    path, report = str(tmp_path / "model.keras"), tmp_path / "report.json"
    saving.save_model(model, path)
    arguments = ["--dataset", str(folder / "parts"), "--bounds", "0", "255"]
    arguments += ["--eps", "8", "--attacks", "noise", "--output", str(report)]
    assert cli.main(["evaluate", path, *arguments]) == 0
    assert "| RandomNoise | 8 | linf |" in capsys.readouterr().out
    found = RobustnessReport.from_json(report.read_text())
    assert found.class_names == list(CLASSES)
    assert (len(found.labels), found.clean_accuracy) == (24, 1)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_train_on_a_folder(folder, tmp_path, capsys):
    arguments = ["--dataset", str(folder / "parts"), "--model", "small_cnn"]
    arguments += ["--epochs", "1", "--image-size", "12"]
    path = str(tmp_path / "model.keras")
    assert cli.main(["train", *arguments, "--output", path]) == 0
    assert "clean test accuracy" in capsys.readouterr().out
    assert saving.load_model(path).input_shape == (None, 12, 12, 3)

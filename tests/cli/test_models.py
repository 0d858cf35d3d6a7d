"""Models on the command line: what is loaded, and what is said where it is not."""

import sys

import keras
import numpy as np
import pytest

from keras_gce import cli
from keras_gce.cli import models

LAYERS = """
import keras


@keras.saving.register_keras_serializable(package="own")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def loss_of_mine(y, z):
    return -keras.ops.mean(z, axis=-1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with models, the module of their layers, and data."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "own_layers.py").write_text(LAYERS)
    own = {}
    exec(LAYERS, own)
    save(folder / "own.keras", own["Twice"]())
    save(folder / "lambda.keras", keras.layers.Lambda(lambda x: 2 * x))
    save(folder / "loss.keras", compiled=own["loss_of_mine"])
    save(folder / "compiled.keras", compiled="sparse_categorical_crossentropy")
    save(folder / "plain.keras")
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(3)(flat) for _ in range(2)]
    keras.Model(inputs, outputs).save(folder / "two.keras")
    images = np.random.default_rng(0).random((6, 4, 4, 1))
    np.savez(folder / "data.npz", x_test=images, y_test=np.arange(6) % 3)
    return folder


def save(path, *layers, compiled=None):
    ends = keras.layers.Flatten(), keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers, *ends])
    if compiled:
        model.compile("sgd", compiled)
    model.save(path)


@pytest.fixture
def evaluate(folder, monkeypatch):
    """The command, in the folder; Keras and Python know nothing of the module."""
    monkeypatch.chdir(folder)

    def forget():
        keras.saving.get_custom_objects().pop("own>Twice", None)
        for name in [name for name in sys.modules if name.endswith("own_layers")]:
            del sys.modules[name]

    forget()
    yield ("evaluate", "--dataset", "data.npz", "--eps", "0.1", "--attacks", "noise")
    forget()


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ("own.keras", "Give `--import` the module that has Twice"),
        ("lambda.keras", "`--trust-model` loads it, and runs the code in the file"),
        ("own.keras --import none.py", "`--import` must be modules or .py files"),
        ("own.keras --import data", "No module named 'data'"),
        # Safe mode stays on: another module's layers are no trust in a lambda.
        ("lambda.keras --import own_layers", "`--trust-model` loads it"),
        ("plain.keras --source own.keras", "Give `--import` the module that has"),
        ("data.npz", "data.npz, a file of another kind"),
        ("two.keras", "`MODEL` must have one input and one output"),
        (".", "., a folder"),
        (
            "plain.keras --threat-model paper",
            "plain.keras, where the model is not compiled with a loss",
        ),
    ],
)
def test_what_is_refused(arguments, received, evaluate, refused):
    line = refused(*evaluate, *arguments.split())
    assert received in line, line
    assert len(line) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        "own.keras --import own_layers.py",
        "own.keras --import own_layers",
        "lambda.keras --trust-model",
        "loss.keras --import own_layers.py",
    ],
)
def test_what_is_loaded(arguments, evaluate, capsys):
    args = cli._parser().parse_args([*evaluate, *arguments.split()])
    model = models.load(args, args.model)
    assert model(np.ones((1, 4, 4, 1))).shape == (1, 3)
    assert model.compiled == (args.model == "loss.keras")
    assert not capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "skipped"),
    [
        ("plain.keras", True),
        ("plain.keras --threat-model crossentropy", False),
        ("own.keras --import own_layers --source own.keras", True),
        ("loss.keras", True),
    ],
)
def test_a_model_without_its_training_loss(arguments, skipped, evaluate, capsys):
    assert cli.main([*evaluate, *arguments.split()]) == 0
    captured = capsys.readouterr()
    assert "| RandomNoise | 0.1 |" in captured.out
    said = "- Skipped: attacks through the training loss: the model is not compiled"
    assert (said in captured.out) == skipped
    warned = "keras-gce: warning: loss.keras was loaded uncompiled, so that there is no"
    assert (warned in captured.err) == (arguments == "loss.keras")
    if arguments == "loss.keras":
        assert "Give `--import` the module that has loss_of_mine" in captured.err

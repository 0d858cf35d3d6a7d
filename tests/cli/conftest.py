"""What the tests of several commands share."""

import keras
import numpy as np
import pytest

from keras_gce import cli, models, saving


@pytest.fixture
def refused(capsys):
    """Runs a command that has to fail as the user's mistake; gives its line."""

    def run(*arguments):
        assert cli.main(list(arguments)) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith("keras-gce: error: ") and not captured.out
        return line

    return run


@pytest.fixture
def saved(tmp_path):
    """Path of a model for digits, which knows nothing."""
    saving.save_model(models.SmallCNN(), tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


@pytest.fixture(scope="session")
def tiny(digits, tmp_path_factory):
    """Path of a small model for digits that is right on most, and attacked at once."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((28, 28, 1)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(*digits.train.arrays(), epochs=3, verbose=0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    saving.save_model(model, path)
    return str(path)


@pytest.fixture(scope="session")
def few(digits, tmp_path_factory):
    """A data folder whose MNIST is some digits: epochs of two batches."""
    folder = tmp_path_factory.mktemp("few")
    train, test = digits.train.take(128), digits.test.take(40)
    np.savez(
        folder / "mnist.npz",
        **{"x_train": train.images, "y_train": train.labels},
        **{"x_test": test.images, "y_test": test.labels},
    )
    return folder

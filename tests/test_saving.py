"""Models and weights: kept whole, and loaded with one kind of error."""

import keras
import numpy as np
import pytest

from keras_gce import losses, saving
from keras_gce.errors import InputError


def compiled():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile("adam", losses.GuidedComplementEntropy(from_logits=True))
    return model


def fit(model, epochs=1):
    x, y = np.eye(3, dtype="float32"), np.arange(3)
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("epochs", [None, 7])
def test_a_model_and_its_epochs(tmp_path, epochs):
    model = fit(compiled())
    saving.save_model(model, tmp_path / "model.keras", epochs)
    assert saving.epochs_of(tmp_path / "model.keras") == epochs
    loaded = saving.load_model(tmp_path / "model.keras")
    same(loaded, model)
    assert loaded.loss.get_config() == model.loss.get_config()
    # Keras knows nothing of the epochs, and doesn't mind.
    same(keras.models.load_model(tmp_path / "model.keras"), model)


def test_epochs_of_what_is_no_such_file(tmp_path):
    (tmp_path / "nonsense.keras").write_text("no archive")
    for name in ("nonsense.keras", "missing.keras"):
        assert saving.epochs_of(tmp_path / name) is None


def test_files_are_whole_or_absent(tmp_path):
    class Model:
        def save(self, path):
            path.write_text("half")
            raise RuntimeError

    (tmp_path / "a.keras").write_text("before")
    with pytest.raises(RuntimeError):
        saving.save_model(Model(), tmp_path / "a.keras")
    assert (tmp_path / "a.keras").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.keras"]


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "nonsense.keras").write_text("no model")
    for name, received in (("nonsense.keras", "loads here"), ("a.keras", "no file")):
        with pytest.raises(InputError, match=received) as error:
            saving.load_model(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_training_goes_on_from_its_weights(tmp_path):
    path = tmp_path / "training.weights.h5"
    model = fit(compiled(), 2)
    saving.save_weights(model, path, epochs=2, steps=7)
    other = compiled()
    assert saving.load_weights(other, path) == (2, 7)
    same(other, model)
    # Adam's moments and steps are in it: both go on alike.
    same(fit(other), fit(model))


def test_weights_without_epochs_or_of_another_model(tmp_path):
    model = fit(compiled())
    path = tmp_path / "plain.weights.h5"
    model.save_weights(path)
    assert saving.load_weights(compiled(), path) == (None, 0)
    wide = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    wide.compile("adam", "mse")
    for wrong in (path, tmp_path / "missing.weights.h5"):
        with pytest.raises(InputError, match="weights of this model") as error:
            saving.load_weights(wide, wrong)
        assert "\n" not in str(error.value)

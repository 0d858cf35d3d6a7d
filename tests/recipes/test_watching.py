"""What watches a recipe's training: averages, early stopping, curves, one step."""

import dataclasses

import keras
import numpy as np
import pytest
from averages import averages_of
from recipes import tiny

from keras_gce import datasets, recipes
from keras_gce.callbacks import CatastrophicOverfitting, RobustAccuracy
from keras_gce.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Training has stayed at chance")

KEY = "val_robust_accuracy"


@pytest.fixture(scope="module")
def held_out(data):
    """The data of these tests, with another part to watch."""
    validation = datasets.load("digits").validation.take(60)
    return dataclasses.replace(data, validation=validation)


def trained(recipe, data, *more, **settings):
    """A model whose training was watched, and the logs."""
    history = keras.callbacks.History()
    callbacks = [*recipes.watchers(recipe, data, **settings), history, *more]
    model = recipes.train(recipe, data, progress=False, callbacks=callbacks)
    return model, history.history


class Seen(keras.callbacks.Callback):
    """What the model holds when callbacks that stand here are asked."""

    def on_train_begin(self, logs=None):
        self.of = []

    def on_epoch_end(self, epoch, logs=None):
        self.of.append(self.model.get_weights())


@pytest.mark.integration
def test_the_final_model_holds_the_averages(data, tmp_path):
    """Also of a training that goes on from raw weights, or is found finished."""

    def recipe(**settings):
        return tiny.recipe("crossentropy", **settings)

    model = recipes.train(recipe(ema=0.9), data, progress=False)
    for weight, average in zip(model.get_weights(), averages_of(model), strict=True):
        np.testing.assert_array_equal(weight, average)
    raw = recipes.train(recipe(), data, progress=False)
    pairs = zip(raw.get_weights(), model.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3
    for epochs in (1, 3, 3):
        settings = {"checkpoint": tmp_path, "progress": False}
        again = recipes.train(recipe(ema=0.9, epochs=epochs), data, **settings)
    tiny.same_weights(model, again)


@pytest.mark.integration
@pytest.mark.parametrize("policy", [None, "mixed_float16"])
def test_early_stopping_keeps_the_best_averages(held_out, policy):
    recipe = tiny.adversarial(ema=0.9, epochs=12, dtype_policy=policy)
    seen = Seen()
    model, history = trained(recipe, held_out, seen, patience=2)
    curve = history[KEY]
    # eps grows in three epochs, which don't count.
    best = 3 + int(np.argmax(curve[3:]))
    assert len(curve) in (12, best + 3)
    # What a checkpoint at this place would hold, and the model in the end.
    for one, other in zip(model.get_weights(), seen.of[best], strict=True):
        np.testing.assert_array_equal(one, other)
    for weight, average in zip(model.get_weights(), averages_of(model), strict=True):
        np.testing.assert_array_equal(weight, average)
    assert set(history) >= {"accuracy", "val_loss", "val_accuracy", KEY}


@pytest.mark.integration
def test_watching_changes_no_training(held_out):
    recipe = tiny.adversarial()
    plain = recipes.train(recipe, held_out, progress=False)
    watched, history = trained(recipe, held_out)
    tiny.same_weights(plain, watched)
    clean = watched.evaluate(held_out.validation.batches(60), verbose=0)[1]
    assert history["val_accuracy"][-1] == pytest.approx(clean)


@pytest.mark.integration
def test_tensorboard_has_the_curves(tf, held_out, tmp_path):
    recipe = tiny.adversarial(epochs=2)
    _, history = trained(recipe, held_out, tensorboard=tmp_path)
    written = {}
    for path in sorted(tmp_path.rglob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                values = written.setdefault((path.parent.name, value.tag), [])
                values.append(float(tf.make_ndarray(value.tensor)))
    for key, name in (
        (("train", "epoch_accuracy"), "accuracy"),
        (("validation", "epoch_accuracy"), "val_accuracy"),
        (("validation", "epoch_robust_accuracy"), KEY),
    ):
        np.testing.assert_allclose(written[key], history[name], rtol=1e-6)


def test_who_watches(held_out, data):
    kinds = [type(c) for c in recipes.watchers(tiny.adversarial(), held_out)]
    assert kinds == [RobustAccuracy]
    fast = tiny.recipe("crossentropy", adversarial="fast", eps=0.1, ema=0.9)
    kinds = [type(c) for c in recipes.watchers(fast, held_out, patience=3)]
    swap, stop = keras.callbacks.SwapEMAWeights, keras.callbacks.EarlyStopping
    assert kinds == [swap, CatastrophicOverfitting, RobustAccuracy, stop]
    assert recipes.watchers(fast, held_out, patience=3)[-1].start_from_epoch == 1
    natural = recipes.watchers(tiny.recipe("cot"), held_out, patience=3)
    assert [callback.monitor for callback in natural] == ["val_accuracy"]
    without = dataclasses.replace(data, validation=data.train.take(0))
    with pytest.raises(InputError, match="digits, without one"):
        recipes.watchers(fast, without)


def test_a_recipe_without_averages_keeps_its_form():
    """In recipe.json: see test_trainer.py."""
    assert "ema" not in tiny.recipe("crossentropy").settings
    assert tiny.recipe("crossentropy", ema=0.9).settings["ema"] == 0.9

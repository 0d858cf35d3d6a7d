"""Averaged weights (`use_ema`): what is attacked, kept and stopped by is of them."""

import keras
import numpy as np
import pytest
from averages import averages_of

from keras_gce import evaluation
from keras_gce.attacks import BIM
from keras_gce.callbacks import RobustAccuracy
from keras_gce.training import AdversarialModel

ATTACK = BIM(eps=0.05, steps=2)
EPOCHS = 2


@pytest.fixture(scope="module")
def parts(digits):
    return digits.train.take(160).arrays(), digits.validation.take(100).arrays()


def compiled():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    model = AdversarialModel(
        keras.Sequential([keras.Input((28, 28, 1)), *layers]), ATTACK
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = keras.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.98)
    model.compile(adam, loss, metrics=["accuracy"])
    return model


def fit(model, parts, callbacks, **settings):
    options = {"batch_size": 32, "shuffle": False, "verbose": 0}
    options |= {"validation_data": parts[1]} | settings
    return model.fit(*parts[0], epochs=EPOCHS, callbacks=callbacks, **options).history


class Averages(keras.callbacks.Callback):
    """The averages and the weights at the end of each epoch, where none are swapped."""

    def on_train_begin(self, logs=None):
        self.averages, self.weights = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.averages.append(averages_of(self.model))
        self.weights.append(self.model.get_weights())


def accuracies(model, weights, part):
    """Clean, and under the attack."""
    model.set_weights(weights)
    report = evaluation.evaluate(
        *(model, part, ATTACK), threat_model=None, progress=False, diagnostics=False
    )
    return report.clean_accuracy, report.worst_case_accuracy


@pytest.fixture(scope="module")
def plain(parts):
    """A training without a swap: its averages and weights, and their accuracies."""
    seen, model = Averages(), compiled()
    fit(model, parts, [seen])
    found = {
        name: [accuracies(model, weights, parts[1]) for weights in values]
        for name, values in (("averages", seen.averages), ("weights", seen.weights))
    }
    for averaged, raw in zip(*found.values(), strict=True):
        assert abs(averaged[1] - raw[1]) > 0.05  # Or there is nothing to tell apart.
    return seen, found


@pytest.mark.seam
@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_the_weights_of_val_accuracy_are_attacked(
    parts, plain, swap_on_epoch, first, tmp_path
):
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    robust = RobustAccuracy(parts[1], ATTACK)
    listed = [robust, swap] if first else [swap, robust]
    path = str(tmp_path / "{epoch}.weights.h5")
    kept = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    seen, found = plain
    model = compiled()
    history = fit(model, parts, [*listed, kept])
    # Keras's swap under TensorFlow rounds: an image may be decided otherwise.
    clean, attacked = zip(*found["averages"], strict=True)
    np.testing.assert_allclose(history["val_accuracy"], clean, atol=0.0101)
    np.testing.assert_allclose(history["val_robust_accuracy"], attacked, atol=0.0101)
    # What is kept, by a checkpoint that stands after the swap, and in the end.
    expected = seen.averages if swap_on_epoch else seen.weights
    assert_same(model.get_weights(), seen.averages[-1])
    for epoch in range(EPOCHS):
        model.load_weights(path.format(epoch=epoch + 1))
        assert_same(model.get_weights(), expected[epoch])


def test_without_a_swap_the_weights_of_val_accuracy_are_the_last_ones(parts, plain):
    history = fit(compiled(), parts, [RobustAccuracy(parts[1], ATTACK)])
    _, attacked = zip(*plain[1]["weights"], strict=True)
    assert history["val_robust_accuracy"] == list(attacked)


def test_an_epoch_without_validation_is_measured_at_its_end(parts, plain):
    robust = RobustAccuracy(parts[1], ATTACK)
    history = fit(compiled(), parts, [robust], validation_freq=2)
    assert len(history["val_accuracy"]) == 1
    _, attacked = zip(*plain[1]["weights"], strict=True)
    assert history["val_robust_accuracy"] == list(attacked)
    # Beside a training nothing is measured.
    robust.measure = None
    model = compiled()
    model.evaluate(*parts[1], callbacks=[robust], verbose=0)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)

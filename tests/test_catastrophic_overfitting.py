"""CatastrophicOverfitting: a failure provoked, caught, and the weights of before."""

import copy

import keras
import numpy as np
import pytest
from averages import averages_of

from keras_gce import evaluation
from keras_gce.attacks import FGSM, PGD
from keras_gce.callbacks import CatastrophicOverfitting, RobustAccuracy
from keras_gce.errors import InputError
from keras_gce.training import AdversarialModel

XE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def parts(digits):
    return digits.train.take(500).arrays(), digits.validation.arrays()


@pytest.mark.integration
def test_fgsm_training_at_a_large_eps_fails_and_is_caught(digits):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(10),
        ]
    )
    wrapped = AdversarialModel(model, FGSM(eps=0.2), warmup_steps=100)
    wrapped.compile(keras.optimizers.Adam(0.01), XE, metrics=["accuracy"])
    watch = CatastrophicOverfitting(digits.validation, eps=0.2)
    x, y = digits.train.arrays()
    with pytest.warns(UserWarning, match="Catastrophic overfitting in epoch"):
        history = wrapped.fit(
            x, y, batch_size=32, epochs=30, verbose=0, callbacks=[watch]
        ).history
    pgd, attack = history["val_pgd_accuracy"], history["val_attack_accuracy"]
    assert len(pgd) == watch.stopped_epoch + 1 < 30
    assert pgd[-1] <= max(pgd) / 2 and max(pgd) == pgd[watch.best_epoch]
    assert attack[-1] > attack[watch.best_epoch] / 2
    assert left(model, digits.validation.arrays()) == max(pgd)


def left(model, part, eps=0.2):
    """What evaluate says under the PGD that the callback has."""
    attack = PGD(eps=eps, steps=10, seed=0)
    return evaluation.evaluate(
        *(model, part, attack), threat_model=None, progress=False, diagnostics=False
    ).worst_case_accuracy


class Weights(keras.callbacks.Callback):
    """The weights of each epoch's end."""

    def on_train_begin(self, logs=None):
        self.of = []

    def on_epoch_end(self, epoch, logs=None):
        self.of.append(self.model.get_weights())


@pytest.fixture(scope="module")
def robust(parts):
    """The weights of a linear model that was trained with PGD."""
    wrapped = AdversarialModel(linear(), PGD(eps=0.1, steps=3, seed=0))
    wrapped.compile(keras.optimizers.Adam(0.01), XE)
    wrapped.fit(*parts[0], epochs=10, verbose=0)
    return wrapped.get_weights()


def linear():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.BatchNormalization()]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers, keras.layers.Dense(10)])


def failing(robust, attack=None, dtype=None, **optimizer):
    """Robust at first; trained on, it holds against its training attack alone."""
    model = linear()
    wrapped = AdversarialModel(model, attack or FGSM(eps=0.001))
    wrapped.set_weights(robust)
    wrapped.compile(keras.optimizers.Adam(0.003, **optimizer), XE)
    return wrapped


def fit(wrapped, parts, callbacks, epochs=20, **settings):
    options = {"batch_size": 50, "shuffle": False, "verbose": 0} | settings
    return wrapped.fit(*parts[0], epochs=epochs, callbacks=callbacks, **options)


@pytest.mark.seam
@pytest.mark.filterwarnings("ignore:Catastrophic overfitting")
@pytest.mark.parametrize("averages", [False, True])
def test_the_weights_are_given_back_exactly(parts, robust, averages):
    wrapped = failing(robust, use_ema=averages, ema_momentum=0.5)
    watch, seen = CatastrophicOverfitting(parts[1], eps=0.1), Weights()
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] * averages
    settings = {"validation_data": parts[1]} if averages else {}
    history = fit(wrapped, parts, [*swap, watch, seen], **settings).history
    assert len(history["val_pgd_accuracy"]) == watch.stopped_epoch + 1 < 20
    found, expected = wrapped.get_weights(), seen.of[watch.best_epoch]
    for one, other, last in zip(found, expected, seen.of[-1], strict=True):
        # Keras's swap rounds, there and back again.
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * averages)
        assert (one != last).any()
    assert left(wrapped.model, parts[1], 0.1) == max(history["val_pgd_accuracy"])
    if averages:
        trained = [keras.ops.convert_to_numpy(w) for w in wrapped.trainable_weights]
        for one, average in zip(trained, averages_of(wrapped), strict=True):
            np.testing.assert_array_equal(one, average)


def test_a_training_that_holds_is_left_alone(parts, robust):
    wrapped = failing(robust, PGD(eps=0.1, steps=3, seed=0))
    watch, seen = CatastrophicOverfitting(parts[1], eps=0.1), Weights()
    fit(wrapped, parts, [watch, seen], epochs=4)
    assert watch.stopped_epoch is None and len(seen.of) == 4
    for one, last in zip(wrapped.get_weights(), seen.of[-1], strict=True):
        np.testing.assert_array_equal(one, last)


def test_what_is_no_sign(parts):
    watch = CatastrophicOverfitting(parts[1], eps=0.1)
    watch.set_model(AdversarialModel(linear(), FGSM(eps=0.1)))
    watch.count = 100

    def failed(pgd, attack):
        pairs = zip(pgd, attack, strict=True)
        names = ("val_pgd_accuracy", "val_attack_accuracy")
        return watch._failed(*(dict(zip(names, pair, strict=True)) for pair in pairs))

    assert failed((0.5, 0.2), (0.6, 0.7))
    assert not failed((0.5, 0.3), (0.6, 0.7))  # Still more than half.
    assert not failed((0.5, 0.0), (0.6, 0.2))  # Both: it diverges.
    assert not failed((0.12, 0.0), (0.12, 0.3))  # It began with one class for all.
    watch.count = 20
    assert not failed((0.2, 0.1), (0.6, 0.7))  # Of two images.


def test_a_copy_shares_the_data(parts):
    watch = CatastrophicOverfitting(parts[1], eps=0.1, drop=0.3, batch_size=7)
    other = copy.deepcopy(watch)
    assert other is not watch and other.data is watch.data
    assert (other.eps, other.drop, other.batch_size) == (0.1, 0.3, 7)


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"eps": 0}, "eps=0"),
        ({"eps": float("nan")}, "eps=nan"),
        ({"drop": 0.0}, "drop=0.0"),
        ({"drop": 1}, "drop=1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_wrong_input(parts, settings, received):
    with pytest.raises(InputError, match=received):
        CatastrophicOverfitting(parts[1], **{"eps": 0.1} | settings)


def test_another_model_is_refused(parts):
    model = linear()
    model.compile("sgd", XE)
    with pytest.raises(InputError, match="must be an AdversarialModel"):
        fit(model, parts, [CatastrophicOverfitting(parts[1], eps=0.1)], epochs=1)


def test_pgd_leaves_alone_what_the_training_attack_does(parts, robust):
    """In balls of other features it would see a failure that there is none of."""
    free = np.zeros((28, 28, 1))
    free[:, 14] = 1.0
    wrapped = failing(robust, FGSM(eps=0.05 * free))
    watch = CatastrophicOverfitting(parts[1], eps=0.1)
    same = PGD(eps=0.1 * free, steps=10, seed=0)
    beside = [watch, RobustAccuracy(parts[1], same)]
    logs = fit(wrapped, parts, beside, epochs=1).history
    assert logs["val_pgd_accuracy"] == logs["val_robust_accuracy"]
    everywhere = evaluation.evaluate(
        wrapped.model, parts[1], PGD(eps=0.1, steps=10, seed=0), None, progress=False
    )
    assert logs["val_pgd_accuracy"][0] > everywhere.worst_case_accuracy

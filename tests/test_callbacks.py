"""RobustAccuracy: the logs that it writes, and the callbacks that read them."""

import copy

import keras
import keras_tuner
import numpy as np
import pytest

from keras_gce import attacks, evaluation
from keras_gce.attacks import BIM, FGSM
from keras_gce.callbacks import RobustAccuracy
from keras_gce.errors import InputError
from keras_gce.training import AdversarialModel

KEY = "val_robust_accuracy"
ATTACK = BIM(eps=0.05, steps=2)


@pytest.fixture(scope="module")
def parts(digits):
    return digits.train.take(200).arrays(), digits.validation.take(40).arrays()


def network():
    flat, dense = keras.layers.Flatten(), keras.layers.Dense
    return keras.Sequential(
        [keras.Input((28, 28, 1)), flat, dense(16, "relu"), dense(10)]
    )


def compiled(learning_rate=0.01):
    keras.utils.set_random_seed(0)
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss)
    return model


def fit(model, parts, callbacks, epochs=3, **settings):
    (x, y), _ = parts
    return model.fit(
        x, y, epochs=epochs, verbose=0, callbacks=callbacks, **settings
    ).history


def test_it_is_what_evaluate_says(parts):
    model = compiled()
    history = fit(model, parts, [RobustAccuracy(parts[1], ATTACK)])
    assert len(history[KEY]) == 3
    report = evaluation.evaluate(
        model,
        parts[1],
        ATTACK,
        threat_model=None,
        progress=False,
        diagnostics=False,
    )
    assert history[KEY][-1] == report.worst_case_accuracy
    assert 0 < history[KEY][-1] < report.clean_accuracy


def test_the_data_are_read_once_and_nothing_else_is_computed(parts):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, i):
            reads.append(i)
            return parts[1]

    reads = []
    history = fit(compiled(), parts, [RobustAccuracy(Batches(), ATTACK)])
    again = fit(compiled(), parts, [RobustAccuracy(parts[1], ATTACK)])
    assert history[KEY] == again[KEY] and reads == [0]


def test_the_worst_case_of_several_attacks(parts):
    both = [BIM(eps=0.05), BIM(eps=0.05, loss="margin")]
    model = compiled()
    history = fit(model, parts, [RobustAccuracy(parts[1], both, batch_size=16)])
    report = evaluation.evaluate(
        model,
        parts[1],
        both,
        threat_model=None,
        batch_size=16,
        progress=False,
        diagnostics=False,
    )
    assert history[KEY][-1] == report.worst_case_accuracy


def test_every_few_epochs_and_the_last(parts):
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(KEY in logs)
    )
    robust = RobustAccuracy(parts[1], ATTACK, every=2)
    fit(compiled(), parts, [robust, record], epochs=5)
    assert seen == [False, True, False, True, True]


def test_no_retrace_from_epoch_to_epoch(parts):
    traces = []

    def loss(y, logits):
        traces.append(1)
        return keras.losses.sparse_categorical_crossentropy(y, logits, True)

    fit(compiled(), parts, [RobustAccuracy(parts[1], FGSM(eps=0.1, loss=loss))], 1)
    once = len(traces)
    fit(compiled(), parts, [RobustAccuracy(parts[1], FGSM(eps=0.1, loss=loss))], 4)
    assert len(traces) == 2 * once


def test_of_a_wrapper_the_model_inside(parts):
    wrapped = AdversarialModel(network(), ATTACK)
    wrapped.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    history = fit(
        wrapped,
        parts,
        [RobustAccuracy(parts[1], attacks.PGD(eps=0.05, loss="training", seed=0))],
        validation_data=parts[1],
    )
    assert {KEY, "val_loss", "loss"} <= set(history)


def test_early_stopping(parts):
    # At this rate nothing gets better.
    stop = keras.callbacks.EarlyStopping(KEY, mode="max", patience=2)
    history = fit(
        compiled(learning_rate=0.0),
        parts,
        [RobustAccuracy(parts[1], ATTACK), stop],
        epochs=10,
    )
    assert len(history[KEY]) == 3 and stop.stopped_epoch == 2


def test_model_checkpoint(parts, tmp_path):
    path = tmp_path / "best.keras"
    best = keras.callbacks.ModelCheckpoint(path, KEY, save_best_only=True, mode="max")
    wrapped = AdversarialModel(compiled(), ATTACK)
    wrapped.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    history = fit(wrapped, parts, [RobustAccuracy(parts[1], ATTACK), best])
    report = evaluation.evaluate(
        keras.models.load_model(path),
        parts[1],
        ATTACK,
        threat_model=None,
        progress=False,
        diagnostics=False,
    )
    assert report.worst_case_accuracy == max(history[KEY])


def test_tensorboard(tf, parts, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path)
    history = fit(compiled(), parts, [RobustAccuracy(parts[1], ATTACK), board])
    written = []
    for path in tmp_path.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if "robust_accuracy" in value.tag:
                    written.append(float(tf.make_ndarray(value.tensor)))
    np.testing.assert_allclose(written, history[KEY], rtol=1e-6)


@pytest.mark.integration
def test_keras_tuner(parts, tmp_path):
    def build(hp):
        # Nothing is learnt at the first rate: the search has a better one to find.
        rate = hp.Choice("learning_rate", [0.0, 0.01])
        wrapped = AdversarialModel(network(), ATTACK)
        wrapped.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return wrapped

    tuner = keras_tuner.GridSearch(
        build,
        objective=keras_tuner.Objective(KEY, "max"),
        directory=tmp_path,
        project_name="search",
    )
    robust = RobustAccuracy(parts[1], ATTACK)
    (x, y), _ = parts
    tuner.search(x, y, epochs=4, verbose=0, callbacks=[robust])
    assert len(tuner.oracle.trials) == 2
    best = tuner.oracle.get_best_trials(1)[0]
    assert best.hyperparameters.get("learning_rate") == 0.01
    report = evaluation.evaluate(
        tuner.get_best_models(1)[0],
        parts[1],
        ATTACK,
        threat_model=None,
        progress=False,
        diagnostics=False,
    )
    assert report.worst_case_accuracy == pytest.approx(best.score)


def test_a_copy_shares_the_data(parts):
    robust = RobustAccuracy(parts[1], ATTACK, every=3, batch_size=7)
    other = copy.deepcopy(robust)
    assert other is not robust and other.data is robust.data
    assert (other.attack, other.every, other.batch_size) == (ATTACK, 3, 7)


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"every": 0}, "every=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"attack": []}, "Received: none"),
    ],
)
def test_wrong_input(parts, settings, received):
    with pytest.raises(InputError, match=received):
        RobustAccuracy(parts[1], **{"attack": ATTACK} | settings)

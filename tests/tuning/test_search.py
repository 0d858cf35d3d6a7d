"""The alpha search: KerasTuner's tuners, a kill, and several machines."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_gce import evaluation, models, tuning
from keras_gce.attacks import JSMA, PGD
from keras_gce.errors import InputError
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.training import AdversarialModel

ATTACK = PGD(eps=0.05, steps=3)


@pytest.fixture(scope="module")
def parts(digits):
    return digits.train.take(300), digits.validation.take(60)


def build(hp):
    return models.SmallCNN()


def search(parts, directory, **settings):
    settings = {"alphas": (1 / 2, 1 / 5), "epochs": 2, "verbose": 0} | settings
    build_model = settings.pop("build_model", build)
    attack = settings.pop("attack", ATTACK)
    return tuning.search_alpha(
        build_model, *parts, attack, directory=directory, batch_size=32, **settings
    )


@pytest.fixture(scope="module")
def searched(parts, tmp_path_factory):
    directory = tmp_path_factory.mktemp("search")
    return directory, search(parts, directory)


def test_grid(searched, parts):
    directory, result = searched
    assert sorted(trial.alpha for trial in result.trials) == [0.2, 0.5]
    best = max(result.trials, key=lambda trial: (trial.score, trial.clean_accuracy))
    assert result.best is best and result.best_alpha == best.alpha
    # The best model is the one that the figures are of, and has the best alpha.
    assert isinstance(result.best_model.loss, GuidedComplementEntropy)
    assert result.best_model.loss.alpha == pytest.approx(best.alpha)
    saved = keras.models.load_model(directory / "best_model.keras")
    report = evaluation.evaluate(saved, parts[1], ATTACK, progress=False)
    assert report.clean_accuracy == best.clean_accuracy
    assert report.worst_case_accuracy == best.adaptive_accuracy
    for trial in result.trials:
        assert trial.adaptive_accuracy <= trial.crossentropy_accuracy
        assert trial.crossentropy_accuracy <= trial.clean_accuracy
        assert trial.crossentropy_accuracy == pytest.approx(trial.score)
    written = json.loads((directory / "alpha_search.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict()))
    table = (directory / "alpha_search.md").read_text()
    assert table == result.to_markdown() and table.count("(best)") == 1
    adaptive = max(trial.adaptive_accuracy for trial in result.trials)
    assert ("keeps more" in table) == (adaptive > best.adaptive_accuracy)
    assert (directory / "alpha_search.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_trials_are_not_run_again(searched, parts):
    directory, result = searched
    made = {p: p.stat().st_mtime_ns for p in directory.rglob("checkpoint*")}

    def broken(*args):
        raise AssertionError("trained again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", broken)
        again = search(parts, directory)
    assert again.to_dict() == result.to_dict()
    assert {p: p.stat().st_mtime_ns for p in made} == made
    with pytest.raises(InputError, match="epochs=2 rather than 3"):
        search(parts, directory, epochs=3)


def test_clean_floor(searched, parts):
    directory, result = searched
    cleanest = max(result.trials, key=lambda trial: trial.clean_accuracy)
    floor = cleanest.clean_accuracy
    above = search(parts, directory, clean_floor=floor)
    assert above.best.clean_accuracy >= floor
    with pytest.raises(InputError, match=r"`clean_floor` must be at most .*0\.\d+"):
        search(parts, directory, clean_floor=1.0)


def test_ranges_and_other_hyperparameters(parts, tmp_path):
    def build_model(hp):
        units = hp.Int("units", 8, 32)
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(units, activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )

    x, y = parts[0].arrays()
    result = search(
        ((x, y), parts[1].arrays()),
        tmp_path / "bayesian",
        tuner="bayesian",
        max_trials=3,
        build_model=build_model,
        optimizer=lambda hp: keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-2)),
    )
    assert len(result.trials) == 3
    for trial in result.trials:
        assert 0.2 <= trial.alpha <= 0.5 and set(trial.values) > {"units", "rate"}
    assert not result.best_model.loss.from_logits

    result = search(parts, tmp_path / "hyperband", tuner="hyperband", epochs=2)
    assert len(result.trials) >= 2
    assert all(trial.status == "COMPLETED" for trial in result.trials)


def test_adversarial_training(parts, tmp_path):
    def build_model(hp):
        return AdversarialModel(models.SmallCNN(), PGD(eps=0.02, steps=2, seed=0))

    result = search(parts, tmp_path, alphas=[1 / 3], build_model=build_model)
    assert type(result.best_model).__name__ == "Functional"
    assert result.best_alpha == pytest.approx(1 / 3)


def test_a_failing_model_is_reported(parts, tmp_path):
    built = []

    def build_model(hp):
        built.append(1)
        if len(built) > 1:
            raise ZeroDivisionError("my model")
        return models.SmallCNN()

    with pytest.raises(RuntimeError, match="my model"):
        search(parts, tmp_path, build_model=build_model)


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"alphas": ()}, r"alphas=\(\)"),
        ({"alphas": (0.5, -0.1)}, "alphas=-0.1"),
        ({"alphas": (float("nan"),)}, "alphas=nan"),
        ({"alphas": 0.5}, "alphas=0.5"),
        ({"alphas": (0.5,), "tuner": "bayesian"}, "alphas=.0.5"),
        ({"tuner": "random"}, "tuner='random'"),
        ({"epochs": 0}, "epochs=0"),
        ({"max_trials": 0}, "max_trials=0"),
        ({"max_trials": 2, "tuner": "hyperband"}, "max_trials=2"),
        ({"objective": "val_f1"}, "objective='val_f1'"),
        ({"clean_floor": -1.0}, "clean_floor=-1.0"),
        ({"clean_floor": 90}, "clean_floor=90"),
        ({"seed": 2**31}, f"seed={2**31}"),
        ({"attack": []}, r"attack=\[\]"),
        ({"attack": JSMA()}, "attack=JSMA"),
        ({"attack": [ATTACK, "pgd"]}, "'pgd'"),
        ({"build_model": lambda hp: None}, "Received: None"),
    ],
)
def test_wrong_input(parts, tmp_path, settings, received):
    with pytest.raises(InputError, match=received):
        search(parts, tmp_path / "new", **settings)


@pytest.mark.parametrize("outputs", [1, 2])
def test_two_classes_are_refused_before_training(parts, tmp_path, outputs):
    def build_model(hp):
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(outputs),
            ]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", None)
        with pytest.raises(InputError, match="at least 3 classes.* of 2 classes"):
            search(parts, tmp_path, build_model=build_model)


def test_several_attacks(parts, tmp_path):
    attacks = [ATTACK, PGD(eps=0.05, steps=3, loss="margin")]
    result = search(parts, tmp_path, alphas=[1 / 3], epochs=1, attack=attacks)
    (trial,) = result.trials
    assert trial.adaptive_accuracy <= trial.crossentropy_accuracy


def test_nothing_outside_is_touched_and_the_seed_decides(parts, tmp_path):
    def draws():
        return random.random(), np.random.rand(), float(keras.random.uniform(()))

    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        one = search(parts, tmp_path / "one", alphas=[1 / 3], epochs=1)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)
    assert draws() == expected
    keras.utils.set_random_seed(6)
    other = search(parts, tmp_path / "other", alphas=[1 / 3], epochs=1)
    assert other.to_dict()["trials"] == one.to_dict()["trials"]


def test_a_folder_that_can_not_be_written(parts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder that can be written"):
        search(parts, tmp_path / "file" / "folder")


def test_an_attack_through_the_training_loss_warns(parts, tmp_path):
    attack = PGD(eps=0.05, steps=1, loss="training")
    with pytest.warns(UserWarning, match="hides its gradient"):
        search(parts, tmp_path, alphas=[0.5], epochs=1, attack=attack)


SEARCH = """
import sys, time
import keras
from keras_gce import datasets, models, tuning
from keras_gce.attacks import PGD

slow = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: time.sleep(1))
fit = keras.Model.fit

def slow_fit(self, *args, callbacks=(), **kwargs):
    return fit(self, *args, callbacks=[*callbacks, slow], **kwargs)

keras.Model.fit = slow_fit
digits = datasets.load("digits")
result = tuning.search_alpha(
    lambda hp: models.SmallCNN(), digits.train.take(300), digits.validation.take(60),
    PGD(eps=0.05, steps=3), alphas=(1 / 2, 1 / 3, 1 / 4, 1 / 5), epochs=3,
    directory=sys.argv[1], verbose=0)
print("RESULT", result and len(result.trials))
"""


def start(directory, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(directory)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def running(directory):
    """The names of the trials that have begun to train."""
    return sorted(path.parent.name for path in directory.rglob("checkpoint.weights.h5"))


def wait_for(condition, *processes):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def test_a_killed_search_resumes(tmp_path):
    process = start(tmp_path)
    wait_for(lambda: len(running(tmp_path)) == 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (tmp_path / "trials" / running(tmp_path)[0] / "trial.json").read_text()
    out, error = start(tmp_path).communicate(timeout=240)
    assert "RESULT 4" in out, error
    table = json.loads((tmp_path / "alpha_search.json").read_text())
    assert {round(t["values"]["alpha"], 3) for t in table["trials"]} == {
        0.5,
        0.333,
        0.25,
        0.2,
    }
    assert {t["status"] for t in table["trials"]} == {"COMPLETED"}
    # The one that had finished is as it was.
    path = tmp_path / "trials" / running(tmp_path)[0] / "trial.json"
    assert path.read_text() == first


def test_a_chief_and_two_workers_of_which_one_is_killed(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def node(name):
        return start(
            tmp_path,
            KERASTUNER_TUNER_ID=name,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=port,
        )

    chief, one, two = node("chief"), node("worker-1"), node("worker-2")
    wait_for(lambda: len(running(tmp_path)) >= 2, chief, one, two)
    two.send_signal(signal.SIGKILL)
    two.wait()
    # As a cluster's scheduler does: under its name it gets its trial again.
    two = node("worker-2")
    out, error = chief.communicate(timeout=240)
    assert "RESULT 4" in out, error
    for worker in (one, two):
        out, error = worker.communicate(timeout=60)
        assert "RESULT None" in out, error
    table = json.loads((tmp_path / "alpha_search.json").read_text())
    assert {t["status"] for t in table["trials"]} == {"COMPLETED"}
    assert len({t["values"]["alpha"] for t in table["trials"]}) == 4


def test_figure(searched):
    from matplotlib.figure import Figure

    from keras_gce import plotting

    figure = plotting.alpha_accuracy(searched[1])
    (ax,) = figure.axes
    assert len(ax.get_legend().get_texts()) == 4
    assert {line.get_marker() for line in ax.get_lines()} >= {"o", "s", "^"}
    x, y = ax.get_lines()[0].get_data()
    np.testing.assert_allclose(x, [0.2, 0.5])
    assert max(y) <= 100
    into = Figure().subplots()
    assert plotting.alpha_accuracy(searched[1], into) is into.figure

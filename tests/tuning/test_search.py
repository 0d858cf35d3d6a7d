"""The alpha search, in one process: its arguments, its steps, what it leaves alone."""

import gc
import json
import random
import sys

import keras
import numpy as np
import pytest

from keras_gce import evaluation, tuning
from keras_gce.attacks import FGSM, JSMA, PGD
from keras_gce.datasets import Split
from keras_gce.errors import InputError
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.training import AdversarialModel

ATTACK = PGD(eps=0.1, steps=3)


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """KerasTuner collects garbage before each model; not among all that is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def parts():
    """Noise, and a stripe where the class says: 96 images to train on, 40 held out."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=136)
    images = rng.integers(180, size=(136, 6, 6, 1), dtype="uint8")
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 60
    return Split(images[:96], labels[:96]), Split(images[96:], labels[96:])


def network(*hidden, outputs=3, activation=None):
    end = keras.layers.Dense(outputs, activation=activation)
    return keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), *hidden, end]
    )


def search(parts, directory, **settings):
    given = {
        "build_model": lambda hp: network(),
        "attack": ATTACK,
        "alphas": (1 / 2, 1 / 5),
        "epochs": 2,
        "batch_size": 8,
        "optimizer": lambda hp: keras.optimizers.Adam(0.02),
        "verbose": 0,
    }
    given |= {"train": parts[0], "validation": parts[1], "directory": directory}
    return tuning.search_alpha(**given | settings)


@pytest.fixture(scope="module")
def searched(parts, tmp_path_factory):
    directory = tmp_path_factory.mktemp("search")
    keras.utils.set_random_seed(6)
    return directory, search(parts, directory)


@pytest.mark.integration
def test_grid(searched, parts):
    directory, result = searched
    assert sorted(trial.alpha for trial in result.trials) == [0.2, 0.5]
    best = max(result.trials, key=lambda trial: (trial.score, trial.clean_accuracy))
    assert result.best is best and result.best_alpha == best.alpha
    # The best model is the one that the figures are of, and has the best alpha.
    assert isinstance(result.best_model.loss, GuidedComplementEntropy)
    assert result.best_model.loss.alpha == pytest.approx(best.alpha)
    saved = keras.models.load_model(directory / "best_model.keras")
    report = evaluation.evaluate(
        saved, parts[1], ATTACK, progress=False, diagnostics=False
    )
    assert report.clean_accuracy == best.clean_accuracy
    assert report.worst_case_accuracy == best.adaptive_accuracy
    for trial in result.trials:
        assert trial.adaptive_accuracy <= trial.crossentropy_accuracy
        assert trial.crossentropy_accuracy < trial.clean_accuracy
        assert trial.crossentropy_accuracy == pytest.approx(trial.score)
        assert trial.epoch in (0, 1) and trial.message is None
        assert trial.clean_accuracy > 0.5
    written = json.loads((directory / "alpha_search.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict()))
    assert (directory / "alpha_search.md").read_text() == result.to_markdown()
    assert (directory / "alpha_search.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.integration
def test_finished_trials_are_not_run_again(searched, parts, monkeypatch):
    directory, result = searched
    made = {p: p.stat().st_mtime_ns for p in directory.rglob("checkpoint*")}
    assert len(made) == 2

    def broken(*args, **settings):
        raise AssertionError("run again")

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", broken)
        patch.setattr(evaluation, "evaluate", broken)
        again = search(parts, directory)
    assert again.to_dict() == result.to_dict()
    assert {p: p.stat().st_mtime_ns for p in made} == made
    with pytest.raises(InputError, match="epochs=2 rather than 3"):
        search(parts, directory, epochs=3)


@pytest.mark.integration
def test_clean_floor(searched, parts):
    directory, result = searched
    floor = max(trial.clean_accuracy for trial in result.trials)
    above = search(parts, directory, clean_floor=floor)
    assert above.best.clean_accuracy >= floor
    with pytest.raises(InputError, match=r"`clean_floor` must be at most .*0\.\d+"):
        search(parts, directory, clean_floor=1.0)


@pytest.mark.integration
def test_ranges_and_other_hyperparameters(parts, tmp_path):
    def build_model(hp):
        hidden = keras.layers.Dense(hp.Int("units", 8, 32), activation="relu")
        return network(hidden, activation="softmax")

    result = search(
        parts,
        tmp_path / "bayesian",
        train=parts[0].arrays(),
        validation=parts[1].arrays(),
        tuner="bayesian",
        max_trials=2,
        epochs=1,
        build_model=build_model,
        optimizer=lambda hp: keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-2)),
    )
    assert len(result.trials) == 2
    for trial in result.trials:
        assert 0.2 <= trial.alpha <= 0.5 and set(trial.values) > {"units", "rate"}
    assert not result.best_model.loss.from_logits

    directory = tmp_path / "hyperband"
    result = search(parts, directory, tuner="hyperband", optimizer="adam", epochs=2)
    assert len(result.trials) >= 2
    assert all(trial.status == "COMPLETED" for trial in result.trials)


@pytest.mark.integration
def test_adversarial_training_and_several_attacks(parts, tmp_path, tf):
    def build_model(hp):
        return AdversarialModel(network(), FGSM(eps=0.02, seed=0))

    attacks = [FGSM(eps=0.1, loss=name) for name in ("crossentropy", "training")]
    with pytest.warns(UserWarning, match="hides its gradient") as warned:
        result = search(
            parts,
            tmp_path,
            build_model=build_model,
            train=parts[0].batches(8, shuffle=True, seed=0),
            validation=parts[1].batches(8),
            alphas=[1 / 3],
            attack=attacks,
        )
    assert warned[0].filename == __file__
    assert type(result.best_model) is keras.Sequential
    assert result.best_alpha == pytest.approx(1 / 3)
    (trial,) = result.trials
    assert trial.adaptive_accuracy <= trial.crossentropy_accuracy


@pytest.mark.integration
def test_a_failing_model_is_reported(parts, tmp_path):
    built = []

    def build_model(hp):
        built.append(1)
        if len(built) > 1:
            raise ZeroDivisionError("my model")
        return network()

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
        ({"tuner": "random"}, "grid, bayesian, hyperband.* tuner='random'"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_trials": 0}, "max_trials=0"),
        ({"max_trials": 2, "tuner": "hyperband"}, "max_trials=2"),
        ({"objective": "val_f1"}, "objective='val_f1'"),
        ({"clean_floor": -1.0}, "clean_floor=-1.0"),
        ({"clean_floor": 90}, "clean_floor=90"),
        ({"seed": 2**31}, f"seed={2**31}"),
        ({"attack": []}, r"attack=\[\]"),
        ({"attack": JSMA()}, "attack=JSMA"),
        ({"attack": [ATTACK, "pgd"]}, "'pgd'"),
        ({"train": None}, "`train` must be .* Received: NoneType"),
        ({"validation": np.zeros(3)}, "`validation` must be .* Received: ndarray"),
    ],
)
def test_wrong_input_leaves_no_trace(parts, tmp_path, settings, received):
    with pytest.raises(InputError, match=received):
        search(parts, tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("build_model", "received"),
    [
        (lambda hp: None, "Received: None"),
        (lambda hp: network(outputs=1), "at least 3 classes.* of 2 classes"),
        (lambda hp: network(outputs=2), "at least 3 classes.* of 2 classes"),
    ],
)
def test_models_are_refused_before_training(
    parts, tmp_path, monkeypatch, build_model, received
):
    monkeypatch.setattr(keras.Model, "fit", None)
    with pytest.raises(InputError, match=received):
        search(parts, tmp_path, build_model=build_model)


def test_a_folder_that_can_not_be_written(parts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder that can be written"):
        search(parts, tmp_path / "file" / "folder")


@pytest.mark.integration
def test_nothing_outside_is_touched_and_the_seed_decides(searched, parts, tmp_path):
    def draws():
        return random.random(), np.random.rand(), float(keras.random.uniform(()))

    def but_the_name(trial):
        return trial | {"trial_id": None}

    second = searched[1].to_dict()["trials"][1]
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        alone = search(parts, tmp_path, alphas=[second["values"]["alpha"]])
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)
    assert draws() == expected
    # Neither the caller's seed nor the trials before it have a say.
    (first,) = alone.to_dict()["trials"]
    assert but_the_name(first) == but_the_name(second)


def test_without_keras_tuner(monkeypatch):
    """The command line tells it from any other error, and prints it."""
    for name in [n for n in sys.modules if n.startswith("keras_gce.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    line = r'must have KerasTuner installed: pip install "keras_gce\[tune\]"\. Received'
    with pytest.raises(ModuleNotFoundError, match=line):
        from keras_gce.tuning import search_alpha  # noqa: F401

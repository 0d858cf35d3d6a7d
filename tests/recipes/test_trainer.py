"""Training a recipe's model: killed, continued, found; and nothing else touched."""

import dataclasses
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from recipes import tiny
from recipes.tiny import same_weights

from keras_gce import recipes, saving
from keras_gce.errors import InputError
from keras_gce.recipes import networks, trainer

# The adversarial recipe's few updates say nothing about chance.
pytestmark = pytest.mark.filterwarnings("ignore:Training has stayed at chance")

STATE = "training.weights.h5"


@pytest.fixture(autouse=True)
def saved_soon(monkeypatch):
    """The state is written after each stretch, and each is one step: three an epoch."""
    monkeypatch.setattr(trainer, "LOSS", 0.0)
    monkeypatch.setattr(recipes.epochs, "STRETCH", 0.0)


@pytest.fixture(scope="module")
def whole(data):
    """A function: the model of a recipe, trained without a break; once for all."""
    return functools.cache(lambda recipe: recipes.train(recipe, data, progress=False))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A folder with the model and the state of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    trainer.trained(tiny.recipe("crossentropy", epochs=1), data, 0, folder, False)
    return folder


@pytest.fixture
def one_epoch(finished, tmp_path):
    return pathlib.Path(shutil.copytree(finished, tmp_path / "one"))


@pytest.mark.integration
def test_a_killed_training_ends_as_one_that_was_not(data, tmp_path, whole, epochs):
    script = pathlib.Path(__file__).with_name("killed.py")
    process = subprocess.run(
        [sys.executable, script, tmp_path, "5"], stderr=subprocess.PIPE, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    recipe = tiny.adversarial()
    expected = whole(recipe)
    epochs.clear()
    # In the middle of the second epoch.
    with h5py.File(tmp_path / STATE) as file:
        assert (file.attrs["epochs"], file.attrs["steps"]) == (1, 1)
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert epochs == [1, 2]
    same_weights(expected, resumed)


@pytest.mark.integration
@pytest.mark.parametrize("loss", ["cot", "guided_complement_entropy"])
def test_an_interrupted_training_resumes(loss, data, tmp_path, monkeypatch, whole):
    recipe, save = tiny.recipe(loss, epochs=2), saving.save_weights

    def interrupted(model, path, epochs, steps):
        save(model, path, epochs, steps)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    same_weights(whole(recipe), resumed)
    # Finished: nothing is trained, and other settings are refused.
    monkeypatch.setattr(saving, "save_weights", interrupted)
    recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    for other in (tiny.recipe(loss, epochs=1), tiny.recipe("crossentropy", epochs=4)):
        with pytest.raises(InputError, match="other settings"):
            recipes.train(other, data, checkpoint=tmp_path)


@pytest.mark.integration
def test_more_epochs_continue(data, one_epoch, whole, epochs):
    recipe = tiny.recipe("crossentropy")
    expected = whole(recipe)
    epochs.clear()
    trainer.trained(recipe, data, 0, one_epoch, False)
    assert len(epochs) == 2
    same_weights(expected, keras.models.load_model(one_epoch / "model.keras"))


@pytest.mark.integration
@pytest.mark.parametrize("policy", recipes.DTYPE_POLICIES)
def test_mixed_precision_ends_in_float32(digits, tmp_path, policy, monkeypatch):
    recipe = tiny.recipe(
        "guided_complement_entropy", epochs=3, dtype_policy=policy, batch_size=16
    )
    arguments = {"dataset": digits, "engine": "keras_gce", "attacks": ["fgsm"]}
    report = recipes.run(recipe, tmp_path, progress=False, **arguments)
    assert keras.config.dtype_policy().name == "float32"
    model = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert int(model.optimizer.iterations) == 3 * -(-len(digits.train) // 16)
    _, accuracy = model.evaluate(*digits.test.arrays(), verbose=0)
    assert report.clean_accuracy == pytest.approx(accuracy) and accuracy > 0.7
    # The model is found again; it is not trained anew.
    monkeypatch.setattr(trainer, "train", None)
    again = recipes.run(recipe, tmp_path, progress=False, **arguments)
    assert (again.robust == report.robust).all()


class Kill(BaseException):
    pass


@pytest.mark.integration
def test_skipped_updates_are_no_missing_epochs(data, tmp_path, monkeypatch, epochs):
    """In float16 gradients overflow at first, for more than one of three epochs."""

    def optimizer(recipe, dataset):
        adam = keras.optimizers.Adam(1e-3)
        return keras.optimizers.LossScaleOptimizer(adam, initial_scale=2.0**24)

    def killed(name, nth=1):
        """Trains; dies before the nth file of that name takes its place."""
        replace, count = os.replace, []

        def replaced(source, target):
            if str(target).endswith(name):
                count.append(target)
                if len(count) == nth:
                    raise Kill
            replace(source, target)

        epochs.clear()
        with monkeypatch.context() as patch, pytest.raises(Kill):
            patch.setattr(os, "replace", replaced)
            trainer.trained(recipe, data, 0, tmp_path, False)
        return len(epochs)

    monkeypatch.setattr(networks, "optimizer", optimizer)
    recipe = tiny.recipe("crossentropy", dtype_policy="mixed_float16")
    whole = recipes.train(recipe, data, progress=False)
    steps = networks.steps_per_epoch(recipe, data)
    assert 0 < int(whole.optimizer.iterations) < 2 * steps
    # After the weights are written, before they count: no epoch is finished, then one
    # more each time.
    assert killed(STATE) == 1
    assert [killed(STATE, nth=4) for _ in range(2)] == [2, 2]
    # And after the last epoch, before the model.
    assert killed("model.keras") == 1
    assert killed("model.keras") == 0
    assert not (tmp_path / "model.keras").exists()
    resumed = trainer.trained(recipe, data, 0, tmp_path, False)
    same_weights(whole, resumed)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations)
    assert saving.epochs_of(tmp_path / "model.keras") == 3
    monkeypatch.setattr(trainer, "train", None)
    same_weights(whole, trainer.trained(recipe, data, 0, tmp_path, False))


def without_epochs(state):
    """Makes a checkpoint one of keras_gce 0.1."""
    with h5py.File(state, "a") as file:
        del file.attrs["epochs"]


@pytest.mark.integration
@pytest.mark.parametrize("policy", [None, "mixed_bfloat16"])
def test_a_checkpoint_of_version_0_1(policy, data, tmp_path, whole, epochs):
    recipe = tiny.recipe("crossentropy", dtype_policy=policy)
    expected = whole(recipe)
    one = tiny.recipe("crossentropy", epochs=1, dtype_policy=policy)
    recipes.train(one, data, checkpoint=tmp_path, progress=False)
    without_epochs(tmp_path / STATE)
    epochs.clear()
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert len(epochs) == 2
    same_weights(expected, resumed)
    again = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert len(epochs) == 2
    same_weights(expected, again)


@pytest.mark.integration
def test_a_float16_checkpoint_of_version_0_1_is_refused(data, tmp_path):
    recipe = tiny.recipe("crossentropy", epochs=1, dtype_policy="mixed_float16")
    recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    without_epochs(tmp_path / STATE)
    with pytest.raises(InputError, match="must say how many epochs") as caught:
        recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert "\n" not in str(caught.value)


def test_a_model_of_version_0_1_is_found(data, one_epoch, monkeypatch):
    with zipfile.ZipFile(one_epoch / "model.keras", "a") as archive:
        archive.comment = b""
    monkeypatch.setattr(trainer, "train", None)
    recipe = tiny.recipe("crossentropy", epochs=1)
    found = trainer.trained(recipe, data, 0, one_epoch, False)
    assert int(found.optimizer.iterations) == networks.steps_per_epoch(recipe, data)


def draws():
    found = [random.random(), np.random.rand(), float(keras.random.uniform(()))]
    if keras.backend.backend() == "tensorflow":
        found.append(float(sys.modules["tensorflow"].random.uniform(())))
    if keras.backend.backend() == "torch":
        found.append(float(sys.modules["torch"].rand(())))
    return found


@pytest.mark.integration
@pytest.mark.parametrize(
    "recipe",
    [
        tiny.adversarial(),
        tiny.recipe("cot", epochs=2, dtype_policy="mixed_float16"),
    ],
    ids=lambda recipe: recipe.name,
)
def test_nothing_outside_is_touched(recipe, data, tmp_path, whole):
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(5)
    draws()
    expected = draws()
    keras.utils.set_random_seed(5)
    draws()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)
    assert draws() == expected
    # A recipe's precision is its own.
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float32"}
    assert model.dtype_policy.name == "float32"
    # From other streams; it may have been trained by another test.
    random.seed(1)
    same_weights(model, whole(recipe))


def test_a_finished_run_draws_nothing(data, one_epoch):
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    recipe = tiny.recipe("crossentropy", epochs=1)
    trainer.trained(recipe, data, 0, one_epoch, False)
    assert draws() == expected


@pytest.mark.parametrize("seed", [-1, 0.5, 2**31, None])
def test_train_refuses_seed(seed, data):
    with pytest.raises(InputError, match=f"seed={seed!r}"):
        recipes.train(tiny.recipe("crossentropy"), data, seed=seed)


def test_the_test_part_alone_is_nothing_to_train_on(data):
    alone = dataclasses.replace(data, name="a.npz", train=data.train.take(0))
    with pytest.raises(InputError, match=r"Received: a\.npz, the test part alone"):
        recipes.train(tiny.recipe("crossentropy"), alone)


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    (tmp_path / STATE).write_bytes(b"half")
    with pytest.raises(InputError, match=r"`checkpoint` .*training\.weights\.h5"):
        recipes.train(
            tiny.recipe("crossentropy"), data, checkpoint=tmp_path, progress=False
        )


@pytest.mark.integration
def test_what_is_written_costs_a_share_of_the_time(data, tmp_path, monkeypatch):
    """No more often than that, but at the end in any case."""
    saves = []

    def saved(model, path, epochs, steps):
        saves.append((epochs, steps))

    monkeypatch.setattr(saving, "save_weights", saved)
    clock = iter(range(10_000))
    monkeypatch.setattr(trainer.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(trainer, "SHARE", 1 / 33)
    # Each look at the clock is a second: a save takes one, the next may come 33 later.
    monkeypatch.setattr(trainer, "LOSS", 120.0)
    recipe = tiny.recipe("crossentropy", epochs=15)
    recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert saves[-1] == (15, 0) and len(saves) == 3
    saves.clear()
    monkeypatch.setattr(trainer, "LOSS", 5.0)  # A kill may cost less than that share.
    recipes.train(recipe, data, checkpoint=tmp_path / "other", progress=False)
    assert saves[-1] == (15, 0) and len(saves) > 6


def test_other_training_images_are_another_training(data, one_epoch):
    fewer = dataclasses.replace(data, train=data.train.take(60))
    with pytest.raises(InputError, match="train_images"):
        trainer.trained(
            tiny.recipe("crossentropy", epochs=1), fewer, 0, one_epoch, False
        )


def test_recipe_json_keeps_its_form(one_epoch):
    """Of runs made before, which have to be found again."""
    found = json.loads((one_epoch / "recipe.json").read_text())
    assert found == {
        "dataset": "digits",
        "model": "small_cnn",
        "loss": "crossentropy",
        "alpha": None,
        "optimizer": "adam",
        "epochs": 1,
        "batch_size": 32,
        "augment": False,
        "weight_decay": 0.0,
        "eps": None,
        "steps": None,
        "step_size": None,
        "warmup_epochs": 0.0,
        "dtype_policy": None,
        "seed": 0,
        "train_images": 90,
    }

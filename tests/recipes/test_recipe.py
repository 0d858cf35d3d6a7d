"""Recipes: how the paper's models are trained, and training that is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_gce import datasets, evaluation, recipes, saving
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits")


def small(loss, **settings):
    settings = {"model": "small_cnn", "epochs": 3} | settings
    return recipes.recipe_for("digits", loss, **settings)


def test_recipes_of_the_paper():
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.3, 40, 0.01)
    assert (recipe.epochs, recipe.warmup_epochs) == (20, 1)
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True, epochs=2)
    assert recipe.warmup_epochs == 0.5
    recipe = recipes.recipe_for("cifar10", "crossentropy", adversarial=True, eps=0.08)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.08, 10, 0.02)
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True, steps=10)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.3, 10, 0.075)
    assert recipes.recipe_for("mnist", "cot").eps is None


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"epochs": 0}, "epochs=0"),
        ({"adversarial": True, "steps": 0}, "steps=0"),
        ({"adversarial": True, "eps": 0.0}, "eps=0.0"),
        ({"adversarial": True, "eps": float("nan")}, "eps=nan"),
        ({"eps": 0.1}, "adversarial=False"),
        ({"dtype_policy": "float16"}, "dtype_policy='float16'"),
        ({"adversarial": True, "loss": "cot"}, "loss='cot'"),
    ],
)
def test_recipe_for_refuses(settings, received):
    with pytest.raises(InputError, match=received):
        recipes.recipe_for("mnist", **{"loss": "crossentropy"} | settings)


@pytest.mark.parametrize("engine", ["keras_gce", "cleverhans"])
@pytest.mark.parametrize(
    ("dataset", "table", "sizes"),
    [
        ("mnist", "table3", [0.01, 0.01, 0.01]),
        ("cifar10", "table3", [0.04 / 40, 0.12 / 40, 0.2 / 40]),
        ("cifar100", "table4", [0.04 / 40, 0.12 / 40, 0.2 / 40]),
        ("mnist", "table6", [0.01]),
        ("cifar10", "table6", [0.0025, 0.005]),
    ],
)
def test_step_sizes_of_the_paper_s_pgd(dataset, table, sizes, engine):
    if engine == "cleverhans":
        pytest.importorskip("cleverhans")
    attacks = evaluation.paper_attacks(dataset, engine=engine, table=table)
    pgd = [attack for attack in attacks if attack.name == "PGD"]
    assert [attack.step_size for attack in pgd] == sizes


KILLED = """
import sys
from keras_gce import datasets, recipes

recipe = recipes.recipe_for("digits", "crossentropy", model="small_cnn", epochs=4,
                            adversarial=True, eps=0.02, steps=20)
recipes.train(recipe, datasets.load("digits"), checkpoint=sys.argv[1])
"""


def test_a_killed_training_ends_as_one_that_was_not(data, tmp_path, monkeypatch):
    recipe = small("crossentropy", epochs=4, adversarial=True, eps=0.02, steps=20)
    whole = recipes.train(recipe, data, progress=False)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    state = tmp_path / "training.weights.h5"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)  # An epoch takes longer.
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    epochs, batches = [], datasets.Split.batches

    def counted(split, *args, **kwargs):
        epochs.append(kwargs["seed"])
        return batches(split, *args, **kwargs)

    monkeypatch.setattr(datasets.Split, "batches", counted)
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert len(epochs) == 3
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", ["cot", "guided_complement_entropy"])
def test_an_interrupted_training_resumes(loss, data, tmp_path, monkeypatch):
    recipe = small(loss)
    whole = recipes.train(recipe, data, progress=False)
    save = saving.save_weights

    def interrupted(model, path, epochs):
        save(model, path, epochs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_weights", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    # Finished: nothing is trained, and other settings are refused.
    monkeypatch.setattr(saving, "save_weights", interrupted)
    recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    for other in (small(loss, epochs=2), small("crossentropy", epochs=4)):
        with pytest.raises(InputError, match="other settings"):
            recipes.train(other, data, checkpoint=tmp_path)


def test_more_epochs_continue(data, tmp_path, monkeypatch):
    def run(output, epochs):
        recipes.run(
            small("crossentropy", epochs=epochs),
            output,
            dataset=data,
            examples=10,
            engine="keras_gce",
            attacks=["fgsm"],
            progress=False,
        )
        return keras.models.load_model(output / "model.keras")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 1)
    seeds, batches = [], datasets.Split.batches
    monkeypatch.setattr(
        datasets.Split,
        "batches",
        lambda *args, **kwargs: seeds.append(1) or batches(*args, **kwargs),
    )
    resumed = run(tmp_path / "parts", 3)
    assert len(seeds) == 2
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", recipes.DTYPE_POLICIES)
def test_mixed_precision_ends_in_float32(data, tmp_path, policy, monkeypatch):
    recipe = small("guided_complement_entropy", epochs=8, dtype_policy=policy)
    arguments = {"dataset": data, "engine": "keras_gce", "attacks": ["fgsm"]}
    compute = recipes.network(recipe, data).get_layer("features").compute_dtype
    assert compute == policy.removeprefix("mixed_")
    report = recipes.run(recipe, tmp_path, progress=False, **arguments)
    assert keras.config.dtype_policy().name == "float32"
    model = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert int(model.optimizer.iterations) == 8 * -(-len(data.train) // 64)
    _, accuracy = model.evaluate(*data.test.arrays(), verbose=0)
    assert report.clean_accuracy == pytest.approx(accuracy) and accuracy > 0.7
    # The model is found again; it is not trained anew.
    monkeypatch.setattr(sys.modules[recipes.run.__module__], "train", None)
    again = recipes.run(recipe, tmp_path, progress=False, **arguments)
    assert (again.robust == report.robust).all()


def same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.fixture
def skipping(monkeypatch):
    """Training whose gradients overflow in float16 for about two epochs."""

    def optimizer(recipe, dataset):
        adam = keras.optimizers.Adam(1e-3)
        return keras.optimizers.LossScaleOptimizer(adam, initial_scale=2.0**55)

    module = sys.modules[recipes.Recipe.__module__]
    monkeypatch.setattr(module, "optimizer", optimizer)
    return small("crossentropy", epochs=4, dtype_policy="mixed_float16")


class Kill(BaseException):
    pass


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_skipped_updates_are_no_missing_epochs(
    skipping, finished, data, tmp_path, monkeypatch
):
    whole = recipes.train(skipping, data, progress=False)
    steps = -(-len(data.train) // 64)
    assert steps < int(whole.optimizer.iterations) < 3 * steps

    replace, count = os.replace, []

    def killed(source, target):  # after the weights are written, before they count
        if str(target).endswith("training.weights.h5"):
            if len(count) == finished:
                raise Kill
            count.append(target)
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(os, "replace", killed)
        recipes.train(skipping, data, checkpoint=tmp_path, progress=False)
    assert len(count) == finished
    epochs, batches = [], datasets.Split.batches
    monkeypatch.setattr(
        datasets.Split,
        "batches",
        lambda *args, **kwargs: epochs.append(1) or batches(*args, **kwargs),
    )
    resumed = recipes.train(skipping, data, checkpoint=tmp_path, progress=False)
    assert len(epochs) == 4 - finished
    same_weights(whole, resumed)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations)


def test_a_finished_model_with_skipped_updates_is_found(
    skipping, data, tmp_path, monkeypatch
):
    def run():
        return recipes.run(
            skipping,
            tmp_path,
            dataset=data,
            examples=10,
            engine="keras_gce",
            attacks=["fgsm"],
            progress=False,
        )

    replace = os.replace

    def killed(source, target):  # after the last epoch, before the model
        if str(target).endswith("model.keras"):
            raise Kill
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(os, "replace", killed)
        run()
    assert not (tmp_path / "model.keras").exists()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", None)
        report = run()
    assert saving.epochs_of(tmp_path / "model.keras") == 4
    monkeypatch.setattr(sys.modules[recipes.run.__module__], "train", None)
    assert (run().robust == report.robust).all()


def without_epochs(state):
    """Makes a checkpoint one of keras_gce 0.1."""
    with h5py.File(state, "a") as file:
        del file.attrs["epochs"]


def test_a_checkpoint_of_version_0_1(data, tmp_path, monkeypatch):
    for policy in (None, "mixed_bfloat16"):
        folder, settings = tmp_path / str(policy), {"dtype_policy": policy}
        whole = recipes.train(small("crossentropy", **settings), data, progress=False)
        one = small("crossentropy", epochs=1, **settings)
        recipes.train(one, data, checkpoint=folder, progress=False)
        without_epochs(folder / "training.weights.h5")
        resumed = recipes.train(
            small("crossentropy", **settings), data, checkpoint=folder, progress=False
        )
        same_weights(whole, resumed)
        if policy is None:
            # Not trained in three epochs, had the first not been found.
            again = recipes.train(
                small("crossentropy"), data, checkpoint=folder, progress=False
            )
            same_weights(again, whole)


def test_a_float16_checkpoint_of_version_0_1_is_refused(data, tmp_path):
    recipe = small("crossentropy", epochs=1, dtype_policy="mixed_float16")
    recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    without_epochs(tmp_path / "training.weights.h5")
    with pytest.raises(InputError, match="must say how many epochs") as caught:
        recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    assert "\n" not in str(caught.value)


def test_a_model_of_version_0_1_is_found(data, tmp_path, monkeypatch):
    arguments = {"dataset": data, "examples": 10, "engine": "keras_gce"}
    arguments |= {"attacks": ["fgsm"], "progress": False}
    recipe = small("crossentropy", epochs=1)
    recipes.run(recipe, tmp_path, **arguments)
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.comment = b""
    monkeypatch.setattr(sys.modules[recipes.run.__module__], "train", None)
    recipes.run(recipe, tmp_path, **arguments)


def draws():
    found = [random.random(), np.random.rand(), float(keras.random.uniform(()))]
    if keras.backend.backend() == "tensorflow":
        found.append(float(sys.modules["tensorflow"].random.uniform(())))
    if keras.backend.backend() == "torch":
        found.append(float(sys.modules["torch"].rand(())))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "crossentropy", "adversarial": True, "eps": 0.1, "steps": 2},
        {"loss": "cot", "dtype_policy": "mixed_float16"},
    ],
)
def test_nothing_outside_is_touched(settings, data, tmp_path):
    recipe = small(**settings, epochs=2)
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
    random.seed(1)
    same_weights(model, recipes.train(recipe, data, progress=False))


def test_a_finished_run_draws_nothing(data, tmp_path):
    recipe = small("crossentropy", epochs=1)
    trained = sys.modules[recipes.run.__module__].trained
    trained(recipe, data, 0, tmp_path, False)
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    trained(recipe, data, 0, tmp_path, False)
    assert draws() == expected


@pytest.mark.parametrize("seed", [-1, 0.5, 2**31, None])
def test_train_refuses_seed(seed, data):
    with pytest.raises(InputError, match=f"seed={seed!r}"):
        recipes.train(small("crossentropy"), data, seed=seed)


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    recipe = small("crossentropy")
    (tmp_path / "training.weights.h5").write_bytes(b"half")
    with pytest.raises(InputError, match=r"`checkpoint` .*training\.weights\.h5"):
        recipes.train(recipe, data, checkpoint=tmp_path, progress=False)


def test_table2(tmp_path):
    arguments = {"epochs": 1, "seeds": 2, "model": "small_cnn", "progress": False}
    table = recipes.reproduce_table2("digits", tmp_path, **arguments)
    assert "| GCE 1/2 | 0.61 |" in table and "±" in table
    summary = json.loads((tmp_path / "table2.json").read_text())
    assert [run["recipe"]["alpha"] for run in summary] == [
        None,
        1 / 2,
        1 / 3,
        1 / 4,
        1 / 5,
    ]
    assert all(0 < error < 100 for run in summary for error in run["error_percent"])
    # Each model's error is that of the model that was saved.
    model = keras.models.load_model(
        tmp_path / "guided_complement_entropy-alpha0.2-seed1" / "model.keras"
    )
    _, accuracy = model.evaluate(*datasets.load("digits").test.arrays(), verbose=0)
    assert summary[4]["error_percent"][1] == pytest.approx(100 * (1 - accuracy))
    assert recipes.reproduce_table2("digits", tmp_path, **arguments) == table
    with pytest.raises(InputError, match="dataset_name='svhn'"):
        recipes.reproduce_table2("svhn", tmp_path)

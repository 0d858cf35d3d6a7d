"""Recipes: how the paper's models are trained, and training that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_gce import datasets, files, recipes
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
    save = files.save_weights

    def interrupted(model, path):
        save(model, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_weights", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    resumed = recipes.train(recipe, data, checkpoint=tmp_path, progress=False)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    # Finished: nothing is trained, and other settings are refused.
    monkeypatch.setattr(files, "save_weights", interrupted)
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

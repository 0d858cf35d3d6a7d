"""JAX and torch beside TensorFlow: the same images from the same weights.

What the backends do differently is tested under each: KERAS_BACKEND=jax pytest -m seam
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import cli, saving
from keras_gce.attacks import BIM, FGSM, JSMA, MIM

pytestmark = pytest.mark.integration

N = 40
PROGRAM = pathlib.Path(__file__).with_name("elsewhere.py")
EVALUATE = "--dataset digits --eps 0.1 --attacks fgsm,noise,pgd --examples 40"


@pytest.fixture(scope="module")
def folder(tf, xe_model, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    saving.save_model(xe_model, folder / "model.keras")
    x, y = digits.test.take(N).arrays()
    np.savez(folder / "data.npz", x=x, y=y)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    path = folder / "tensorflow.json"
    arguments = [str(folder / "model.keras"), *EVALUATE.split(), "--output", str(path)]
    assert cli.main(["evaluate", *arguments]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope="module", params=["jax", "torch"])
def other(request, folder):
    """The name of another backend, and what one process found under it."""
    name = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    settings = {
        "KERAS_BACKEND": name,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        # Several threads of torch's wait for each other where other tests run beside.
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | settings,
    )
    assert process.returncode == 0, process.stderr
    return name, json.loads((folder / f"{name}.found.json").read_text())


def test_tensorflow_is_not_needed(other):
    _, found = other
    assert found["code"] == 0
    assert found["tensorflow"] == []


def test_the_same_images_from_the_same_weights(other, folder, xe_model, digits):
    found = np.load(folder / f"{other[0]}.npz")
    x, y = digits.test.take(N).arrays()
    for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1), JSMA(gamma=0.1, seed=0)):
        ours = to_numpy(attack(xe_model, x, y))
        # Where a gradient is 0 but for rounding, its sign is the order of the sums. MIM
        # keeps such a sign for all its steps.
        same = np.isclose(found[attack.name], ours, rtol=0, atol=1e-5)
        assert same.mean() > (0.98 if attack.name == "MIM" else 0.995), attack.name


def test_the_same_report(other, folder, report):
    theirs = json.loads((folder / f"{other[0]}.json").read_text())
    assert other[0] in theirs["versions"] and "tensorflow" not in theirs["versions"]
    assert report["clean_accuracy"] == theirs["clean_accuracy"]
    for a, b in zip(report["results"], theirs["results"], strict=True):
        assert (a["name"], a["loss"]) == (b["name"], b["loss"])
        # Random starts and noise are drawn by another generator.
        images = 3 if a["name"] in ("PGD", "RandomNoise") else 1
        off = abs(a["robust_accuracy"] - b["robust_accuracy"])
        assert off * a["n_examples"] <= images + 1e-6


def test_two_devices_are_one_under_jax(other):
    name, found = other
    if name != "jax":
        pytest.skip("about JAX")
    found = found["sharded"]
    assert (found["devices"], found["used"]) == (2, 2)
    assert found["decided_otherwise"] == 0
    assert found["weights_differ"] < 1e-5

"""The scripts for a GPU, at small scale on a CPU: under JAX, without TensorFlow."""

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.integration

# No TensorFlow; and with KILLED the process dies after its first finished epoch.
SITE = """
import os, signal, sys

sys.modules["tensorflow"] = None
replace = os.replace


def killed(source, target):
    replace(source, target)
    if str(target).endswith("training.weights.h5"):
        os.kill(os.getpid(), signal.SIGKILL)


if "KILLED" in os.environ:
    os.replace = killed
"""
FOLDER = pathlib.Path(__file__).parents[1] / "experiments"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    folder = tmp_path_factory.mktemp("experiments")
    rng = np.random.default_rng(0)
    arrays = {"x_train": (96, 32, 32, 3), "x_test": (8, 32, 32, 3)}
    arrays = {name: rng.integers(0, 256, s, "uint8") for name, s in arrays.items()}
    arrays |= {"y_train": np.arange(96) % 10, "y_test": np.arange(8)}
    np.savez(folder / "cifar10.npz", **arrays)
    (folder / "sitecustomize.py").write_text(SITE)

    def start(script, output, *options, **variables):
        environment = os.environ | {
            "KERAS_BACKEND": "jax",
            # A few steps run sooner than XLA has optimised them.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "DATA_DIR": str(folder),
            "OUTPUT": str(output),
            "PYTHONPATH": str(folder),
            "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        return subprocess.run(
            ["bash", FOLDER / script, *options],
            env=environment | variables,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def test_table3_is_killed_and_continues(start, tmp_path):
    options = ["--model", "small_cnn", "--epochs", "2", "--attacks", "fgsm"]
    process = start("table3_cifar10.sh", tmp_path, *options, KILLED="1")
    assert process.returncode == -signal.SIGKILL
    assert str(tmp_path) in process.stdout
    state = tmp_path / "crossentropy-mixed_bfloat16-seed0" / "training.weights.h5"
    assert not (state.parent / "model.keras").exists()
    killed = state.read_bytes()
    process = start("table3_cifar10.sh", tmp_path, *options)
    printed = process.stdout
    assert process.returncode == 0
    assert "small_cnn, 2 epochs in mixed_bfloat16" in printed and "| FGSM |" in printed
    assert (tmp_path / "table3.md").read_text() in printed
    assert state.read_bytes() != killed


@pytest.mark.slow
def test_table6(start, tmp_path):
    options = ["--model", "small_cnn", "--epochs", "1", "--examples", "4"]
    process = start("table6_cifar10.sh", tmp_path, *options)
    printed = process.stdout
    assert process.returncode == 0
    for eps in ("0.04", "0.08"):
        assert f"PGD adversarial training (eps {eps}, 10 steps" in printed


def test_each_script_is_in_the_readme():
    readme = (FOLDER / "README.md").read_text()
    for script in FOLDER.glob("*.sh"):
        assert f"`{script.name}`" in readme

"""JAX and torch beside TensorFlow: the same images from the same weights.

The other test files run under each backend too: KERAS_BACKEND=jax pytest ...
"""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_gce import backend, cli, saving
from keras_gce.attacks import BIM, FGSM, JSMA, MIM, PGD, RandomNoise
from keras_gce.errors import InputError

N = 40

ATTACK = """
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
import keras, numpy as np
from keras_gce import backend, saving
from keras_gce.attacks import BIM, FGSM, JSMA, MIM

folder = sys.argv[1]
data = np.load(f"{folder}/data.npz")
model = saving.load_model(f"{folder}/model.keras")
found = {}
for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1), JSMA(gamma=0.1, seed=0)):
    x_adv = attack(model, data["x"], data["y"])
    found[attack.name] = keras.ops.convert_to_numpy(x_adv)
np.savez(f"{folder}/{keras.backend.backend()}.npz", **found)
"""

EVALUATE = """
import sys
sys.modules["tensorflow"] = None
from keras_gce import cli
folder, output = sys.argv[1:]
code = cli.main(["evaluate", f"{folder}/model.keras", "--dataset", "digits",
    "--eps", "0.1", "--attacks", "fgsm,bim,pgd,noise", "--output", output])
loaded = [name for name, module in sys.modules.items()
    if module is not None and name.split(".")[0] == "tensorflow"]
sys.exit(code or len(loaded))
"""

SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np
from keras_gce.attacks import BIM
from keras_gce.evaluation import evaluate
from keras_gce.training import AdversarialModel

x = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
y = np.arange(32) % 10

def trained():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(), keras.layers.Dense(10)])
    wrapped = AdversarialModel(model, BIM(eps=0.1, steps=2), natural_weight=0.5)
    wrapped.compile(keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    wrapped.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    report = evaluate(model, (x, y), BIM(eps=0.1), "crossentropy", progress=False)
    return [np.asarray(w) for w in model.get_weights()], report, model

alone, report, _ = trained()
devices = keras.distribution.list_devices()
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
shared, again, model = trained()
used = len(model.weights[0].value.sharding.device_set)
print(len(devices), used,
    max(np.abs(a - b).max() for a, b in zip(alone, shared)),
    (report.robust != again.robust).sum())
"""


def run(name, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": name},
    )


@pytest.fixture(params=["jax", "torch"])
def other(request, tf):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def folder(tf, xe_model, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    saving.save_model(xe_model, folder / "model.keras")
    x, y = digits.test.take(N).arrays()
    np.savez(folder / "data.npz", x=x, y=y)
    return folder


def test_the_same_images_from_the_same_weights(other, folder, xe_model, digits):
    process = run(other, ATTACK, folder)
    assert process.returncode == 0, process.stderr
    found = np.load(folder / f"{other}.npz")
    x, y = digits.test.take(N).arrays()
    for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1), JSMA(gamma=0.1, seed=0)):
        ours = keras.ops.convert_to_numpy(attack(xe_model, x, y))
        # Where a gradient is 0 but for rounding, its sign is the order of the sums. MIM
        # keeps such a sign for all its steps.
        same = np.isclose(found[attack.name], ours, rtol=0, atol=1e-5)
        assert same.mean() > (0.98 if attack.name == "MIM" else 0.995), attack.name


def test_the_same_report_without_tensorflow(other, folder, tmp_path):
    process = run(other, EVALUATE, folder, tmp_path / "other.json")
    assert process.returncode == 0, process.stderr
    arguments = ["--dataset", "digits", "--eps", "0.1"]
    arguments += ["--attacks", "fgsm,bim,pgd,noise"]
    output = str(tmp_path / "tf.json")
    assert (
        cli.main(
            ["evaluate", str(folder / "model.keras"), *arguments, "--output", output]
        )
        == 0
    )
    ours, theirs = (
        json.loads((tmp_path / name).read_text()) for name in ("tf.json", "other.json")
    )
    assert other in theirs["versions"] and "tensorflow" not in theirs["versions"]
    assert ours["clean_accuracy"] == theirs["clean_accuracy"]
    for a, b in zip(ours["results"], theirs["results"], strict=True):
        assert (a["name"], a["loss"]) == (b["name"], b["loss"])
        # Random starts and noise are drawn by another generator.
        points = 3 if a["name"] in ("PGD", "RandomNoise") else 1
        assert abs(a["robust_accuracy"] - b["robust_accuracy"]) <= points / 100


def test_two_devices_are_one_under_jax(tf):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    process = run("jax", SHARDED)
    assert process.returncode == 0, process.stderr
    devices, used, difference, decided = process.stdout.split()
    assert (devices, used, decided) == ("2", "2", "0")
    assert float(difference) < 1e-5


def test_the_device_decides_on_xla(tf, images):
    model, x, y = images
    compiled_with_xla = {}
    for choice in ("auto", True, False):
        attack = PGD(eps=0.1, steps=2, seed=0, jit_compile=choice)
        before = set(backend.tensorflow.compiled_for(model))
        attack(model, x, y)
        functions = backend.tensorflow.compiled_for(model)
        (function,) = (functions[key] for key in functions.keys() - before)
        attributes = function.function_def.attr
        compiled_with_xla[choice] = attributes["_XlaMustCompile"].b
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    assert compiled_with_xla == {"auto": has_gpu, True: True, False: False}


def test_a_gpu_gives_what_the_cpu_gives(tf, xe_model, digits):
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    x, y = digits.test.take(N).arrays()
    for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1)):
        found = attack(xe_model, x, y)
        assert "GPU" in found.device
        with tf.device("CPU:0"):
            model = keras.models.clone_model(xe_model)
            model.set_weights(xe_model.get_weights())
            ours = attack.with_loss("crossentropy")(model, x, y)
        same = np.isclose(found, ours, rtol=0, atol=1e-5)
        assert same.mean() > 0.995, attack.name


def test_compiled_once_for_a_range_of_batch_sizes(images):
    if keras.backend.backend() != "jax":
        pytest.skip("about JAX")
    model, x, y = images
    for eps, n in ((0.1, 40), (0.2, 33), (0.3, 40)):
        PGD(eps=eps, steps=n)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1
    PGD(eps=0.1, steps=2)(model, x[:7], y[:7])
    assert backend.trace_count(model) == 2


def test_filling_up_a_batch_changes_nothing(images):
    model, x, y = images
    attack = BIM(eps=0.1)
    together = keras.ops.convert_to_numpy(attack(model, x[:33], y[:33]))
    alone = keras.ops.convert_to_numpy(attack(model, x[:5], y[:5]))
    assert together.shape == x[:33].shape
    np.testing.assert_allclose(together[:5], alone, atol=1e-5)


def test_random_models_are_refused_under_jax(images):
    if keras.backend.backend() != "jax":
        pytest.skip("about JAX")

    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)

    _, x, y = images
    layers = [keras.Input(x.shape[1:]), Noise(), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    for attack in (FGSM(eps=0.1), RandomNoise(eps=0.1, samples=2)):
        with pytest.raises(InputError, match="draws random numbers"):
            attack(model, x, y)
    # Dropout does nothing in inference.
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dropout(0.5)]
        + [keras.layers.Dense(10)]
    )
    FGSM(eps=0.1)(model, x, y)


@pytest.fixture
def images(digits):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    return model, *digits.test.take(N).arrays()

"""Run under another backend, as if TensorFlow were not installed: see test_backends.py.

    KERAS_BACKEND=jax python elsewhere.py FOLDER

FOLDER has a model and images; the attacks' images, a report and, under JAX, what two
devices compute are written beside them.
"""

# ruff: noqa: E402
import sys

sys.modules["tensorflow"] = None  # Before Keras looks for it.

import json
import pathlib

import keras
import numpy as np

from keras_gce import cli, saving
from keras_gce.attacks import BIM, FGSM, JSMA, MIM
from keras_gce.evaluation import evaluate
from keras_gce.training import AWP, AdversarialModel

EVALUATE = "--dataset digits --eps 0.1 --attacks fgsm,noise,pgd --examples 40"


def attacked(model, x, y):
    """The images of attacks that draw no random numbers, by their names."""
    attacks = (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1), JSMA(gamma=0.1, seed=0))
    return {a.name: keras.ops.convert_to_numpy(a(model, x, y)) for a in attacks}


def trained():
    """The weights of a network trained adversarially, its robust examples, itself."""
    x = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
    y = np.arange(32) % 10
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3, 1, "same")])
    for layer in (layers.ReLU(), layers.Flatten(), layers.Dense(10)):
        model.add(layer)
    wrapped = AdversarialModel(
        model, BIM(eps=0.1, steps=2), 0.5, weight_perturbation=AWP(0.05)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wrapped.compile(keras.optimizers.SGD(0.1), loss)
    wrapped.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    report = evaluate(
        model, (x, y), BIM(eps=0.1), "crossentropy", progress=False, diagnostics=False
    )
    return [np.asarray(w) for w in model.get_weights()], report.robust, model


def sharded():
    """What one device and two devices compute, compared."""
    alone, robust, _ = trained()
    devices = keras.distribution.list_devices()
    distribution = keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(distribution)
    shared, again, model = trained()
    off = max(np.abs(a - b).max() for a, b in zip(alone, shared, strict=True))
    return {
        "devices": len(devices),
        "used": len(model.weights[0].value.sharding.device_set),
        "weights_differ": float(off),
        "decided_otherwise": int((robust != again).sum()),
    }


def main(folder):
    data = np.load(folder / "data.npz")
    model = saving.load_model(folder / "model.keras")
    name = keras.backend.backend()
    np.savez(folder / f"{name}.npz", **attacked(model, data["x"], data["y"]))
    output = ["--output", str(folder / f"{name}.json")]
    code = cli.main(
        ["evaluate", str(folder / "model.keras"), *EVALUATE.split(), *output]
    )
    found = {"code": code, "sharded": sharded() if name == "jax" else None}
    found["tensorflow"] = [
        module
        for module, loaded in sys.modules.items()
        if loaded is not None and module.split(".")[0] == "tensorflow"
    ]
    (folder / f"{name}.found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

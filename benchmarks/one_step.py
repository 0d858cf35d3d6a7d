"""One-step adversarial training: which of its forms holds where FGSM fails.

    python benchmarks/one_step.py
    python benchmarks/one_step.py --methods FGSM --watch

Digits at a large eps, a convolutional network, cross-entropy. PGD (10 steps) on the
held-out part after each epoch says which epoch is the best; the weights of that one
and of the last are attacked by PGD (20 steps) on the test part. Prints a Markdown
table, means over the seeds, and a line for each run. With --watch
`CatastrophicOverfitting` stands in the list: the last weights are those that it gives
back, and the line says where it stopped.
"""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_gce
from keras_gce.attacks import FGSM, PGD
from keras_gce.callbacks import CatastrophicOverfitting, RobustAccuracy
from keras_gce.training import AdversarialModel

METHODS = {
    "FGSM": lambda eps: FGSM(eps=eps),
    "fast": lambda eps: PGD(eps=eps, step_size=1.25 * eps, steps=1),
    "noisy": lambda eps: PGD(eps=2 * eps, step_size=eps, steps=1),
    "PGD-7": lambda eps: PGD(eps=eps, steps=7),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--watch", action="store_true")
    args = parser.parse_args()
    data = keras_gce.datasets.load("digits")
    rows = {name: [] for name in args.methods}
    for seed in range(args.seeds):
        for name in args.methods:
            row = measure(name, data, args.eps, args.epochs, seed, args.watch)
            rows[name].append(row)
    print("| training attack | clean, last | PGD, best epoch | PGD, last | seconds |")
    print("|---|---|---|---|---|")
    for name, found in rows.items():
        clean, best, last, seconds = np.mean(found, axis=0)
        print(f"| {name} | {clean:.1%} | {best:.1%} | {last:.1%} | {seconds:.0f} |")


class Best(keras.callbacks.Callback):
    """The weights of the best epoch."""

    most = -1.0

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_robust_accuracy"] > self.most:
            self.most, self.epoch = logs["val_robust_accuracy"], epoch
            self.weights = self.model.get_weights()


def measure(name, data, eps, epochs, seed, watch):
    """Trains once: clean accuracy, that under PGD at both ends, and seconds."""
    keras.utils.set_random_seed(seed)
    model = network()
    wrapped = AdversarialModel(model, METHODS[name](eps), warmup_steps=300)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wrapped.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    robust = RobustAccuracy(data.validation, PGD(eps=eps, steps=10, seed=0))
    callbacks = [robust, best := Best()]
    if watch:
        callbacks.append(CatastrophicOverfitting(data.validation, eps=eps))
    x, y = data.train.arrays()
    start = time.perf_counter()
    curve = wrapped.fit(
        x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=callbacks
    ).history["val_robust_accuracy"]
    seconds = time.perf_counter() - start

    def attacked():
        report = keras_gce.evaluate(
            model,
            data.test,
            PGD(eps=eps, steps=20, seed=0),
            threat_model=None,
            progress=False,
            diagnostics=False,
        )
        return report.clean_accuracy, report.worst_case_accuracy

    clean, last = attacked()
    wrapped.set_weights(best.weights)
    _, most = attacked()
    print(
        f"{name}, seed {seed}: clean {clean:.1%}, PGD {most:.1%} (epoch "
        f"{best.epoch + 1}) to {last:.1%}, {len(curve)} epochs, held out",
        *(f"{value:.0%}" for value in curve),
        file=sys.stderr,
        flush=True,
    )
    return clean, most, last, seconds


def network():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dense(10),
        ]
    )


if __name__ == "__main__":
    main()

"""What perturbed weights are for: robust accuracy where there is little data.

    python benchmarks/awp.py

SmallCNN on some of the digits, PGD adversarial training until it has learned them by
heart; without AWP and with it, the same seeds. Robust accuracy under PGD with 20 steps
on the images of training and on the test part. Prints a Markdown table.
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_gce
from keras_gce.attacks import PGD
from keras_gce.training import AWP, AdversarialModel


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--eps", type=float, default=0.15)
    parser.add_argument("--gamma", type=float, default=0.005)
    args = parser.parse_args()
    print("| seed | AWP | clean | robust, trained on | robust, test | gap |")
    print("|---|---|---|---|---|---|")
    found = []
    for seed in range(args.seeds):
        for gamma in (None, args.gamma):
            clean, known, new = measure(seed, gamma, args)
            row = [100 * value for value in (clean, known, new, known - new)]
            found.append(row)
            figures = " | ".join(f"{value:.1f}" for value in row)
            print(f"| {seed} | {gamma or 'none'} | {figures} |", flush=True)
    plain, moved = np.array(found[::2]), np.array(found[1::2])
    for name, rows in (("none", plain), (args.gamma, moved)):
        figures = " | ".join(f"{value:.1f}" for value in rows.mean(0))
        print(f"| mean | {name} | {figures} |")


def measure(seed, gamma, args):
    """Trains; the clean accuracy, and the robust one on known and on new images."""
    data = keras_gce.datasets.load("digits")
    known, test = data.train.take(args.images).arrays(), data.test.arrays()
    keras.utils.set_random_seed(seed)
    model = keras_gce.models.SmallCNN()
    adversarial = AdversarialModel(
        model,
        PGD(eps=args.eps, steps=5, seed=seed),
        warmup_steps=100,
        weight_perturbation=None if gamma is None else AWP(gamma),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adversarial.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    adversarial.fit(*known, batch_size=32, epochs=args.epochs, verbose=0)
    attack = PGD(eps=args.eps, steps=20, seed=1)

    def accuracy(x, y):
        answers = model.predict(x, batch_size=256, verbose=0).argmax(-1)
        return float((answers == y).mean())

    robust = (accuracy(attack(model, x, y), y) for x, y in (known, test))
    return accuracy(*test), *robust


if __name__ == "__main__":
    main()

"""How the time of PGD grows with its steps, beside bare forward and gradient passes.

    python benchmarks/steps.py

LeNet-5, 500 images, cross-entropy. The floor is the same number of compiled forward
and input-gradient passes without anything else, run in turn with the attack. Prints a
Markdown table.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from keras_gce import models
from keras_gce.attacks import PGD
from keras_gce.classifier import Classifier


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    model = models.LeNet5()
    classifier = Classifier(model)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random((args.images, 28, 28, 1), "float32"))
    y = tf.constant(rng.integers(0, 10, args.images), "int32")

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
                y, model(x, training=False)
            )
        return tape.gradient(loss, x)

    def floor(steps):
        for _ in range(steps):
            gradient(x)

    print("| steps | PGD s | s a step | over the floor (median of pairs) |")
    print("|---|---|---|---|")
    for steps in (1, 10, 20, 40, 80):
        attack = PGD(eps=0.3, steps=steps, seed=0)
        attack.run(classifier, x, y), floor(1)
        pairs = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            np.asarray(attack.run(classifier, x, y))
            middle = time.perf_counter()
            floor(steps)
            pairs.append((middle - start, time.perf_counter() - middle))
        seconds = statistics.median(a for a, _ in pairs)
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"| {steps} | {seconds:.3f} | {seconds / steps:.4f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

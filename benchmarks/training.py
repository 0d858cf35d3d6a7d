"""A step of adversarial training beside the passes that it can't do without.

    python benchmarks/training.py
    python benchmarks/training.py --awp 0.01

LeNet-5, batch 64, PGD with k steps. The floor is k compiled forward and input-gradient
passes and one plain training step, run in turn with the adversarial step; with AWP also
one compiled gradient with respect to the weights, in training mode. Each k runs
in a process of its own, for its memory: the most that training added to what the
process held after a plain step. Prints a Markdown table.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 40, 80])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--awp", type=float, help="perturb the weights by this share")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measure(args.steps[0], args.batch_size, args.repeats, args.awp))
        return
    print("| k | step ms | floor ms | step / floor | added MB |")
    print("|---|---|---|---|---|")
    for steps in args.steps:
        command = [sys.executable, __file__, "--one", "--steps", str(steps)]
        command += ["--batch-size", str(args.batch_size)]
        command += ["--repeats", str(args.repeats)]
        if args.awp is not None:
            command += ["--awp", str(args.awp)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            sys.exit(process.stderr)
        print(process.stdout.strip().splitlines()[-1], flush=True)


def measure(steps, batch_size, repeats, awp):
    """Times an adversarial step and its floor in turn; a row of the table."""
    import keras
    import tensorflow as tf

    from keras_gce import models
    from keras_gce.attacks import PGD
    from keras_gce.training import AWP, AdversarialModel

    rng = np.random.default_rng(0)
    x = rng.random((batch_size, 28, 28, 1), "float32")
    y = rng.integers(0, 10, batch_size).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain = models.LeNet5()
    plain.compile("adam", loss)
    adversarial = AdversarialModel(
        models.LeNet5(),
        PGD(eps=0.3, steps=steps, seed=0),
        weight_perturbation=None if awp is None else AWP(awp),
    )
    adversarial.compile("adam", loss)

    # As `fit` has them: compiled, reading from an iterator.
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    plain.fit(data, steps_per_epoch=1, verbose=0)
    held = memory("VmRSS")
    adversarial.fit(data, steps_per_epoch=1, verbose=0)
    images, labels, data = tf.constant(x), tf.constant(y), iter(data)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, plain(x, training=False)
            )
        return tape.gradient(values, x)

    @tf.function
    def at_weights(x):
        with tf.GradientTape() as tape:
            value = loss(labels, plain(x, training=True))
        return tape.gradient(value, plain.trainable_variables)

    def floor():
        for _ in range(steps):
            gradient(images)
        if awp is not None:
            at_weights(images)
        return plain.train_function(data)["loss"].numpy()

    floor()
    pairs = []
    for _ in range(repeats):
        start = time.perf_counter()
        adversarial.train_function(data)["loss"].numpy()
        middle = time.perf_counter()
        floor()
        pairs.append((middle - start, time.perf_counter() - middle))
    added = memory("VmHWM") - held
    step, least = (1000 * np.median(pairs, axis=0)).tolist()
    ratio = statistics.median(a / b for a, b in pairs)
    return f"| {steps} | {step:.1f} | {least:.1f} | {ratio:.2f} | {added:.0f} |"


def memory(name):
    """One of Linux's figures of this process's memory, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()

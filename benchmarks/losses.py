"""What a training step costs with GCE, beside Keras's cross-entropy.

    python benchmarks/losses.py

Both models train in turn, a block of steps each, on the same images; the ratio is
taken pair by pair, since the machine's speed drifts. Prints a Markdown table.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from keras_gce import losses, models


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps in a block")
    parser.add_argument("--repeats", type=int, default=9, help="pairs of blocks")
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    print("| model | cross-entropy ms | GCE ms | ratio (median of pairs) |")
    print("|---|---|---|---|")
    for build in (models.LeNet5, models.ResNet20):
        steps = args.steps if build is models.LeNet5 else max(args.steps // 8, 2)
        pair = [
            step_of(build, loss, args.batch_size)
            for loss in (
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                losses.GuidedComplementEntropy(from_logits=True),
            )
        ]
        times = []
        for repeat in range(args.repeats):
            # Each goes first as often as second.
            block = [0.0, 0.0]
            for i in (0, 1) if repeat % 2 else (1, 0):
                start = time.perf_counter()
                for _ in range(steps):
                    pair[i]()
                block[i] = (time.perf_counter() - start) / steps * 1e3
            times.append(block)
        xe, gce = (statistics.median(t) for t in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"| {build.__name__} | {xe:.2f} | {gce:.2f} | {ratio:.3f} |", flush=True)


def step_of(build, loss, batch_size):
    """Returns a function that runs one training step, already traced."""
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x = rng.random((batch_size, *model.input_shape[1:]), "float32")
    batch = [(tf.constant(x), tf.constant(rng.integers(0, 10, batch_size)))]
    model.make_train_function()
    for _ in range(3):
        model.train_function(iter(batch))
    return lambda: model.train_function(iter(batch))


if __name__ == "__main__":
    main()

"""PGD's time by its steps, and the attacks beside CleverHans's inside a tf.function.

    pip install -e ".[all,bench]"
    taskset -c 0 python benchmarks/steps.py

LeNet-5, 500 images, cross-entropy, on one core. The floor is the same number of
compiled forward and input-gradient passes without anything else. CleverHans's attacks
are called as a whole inside a `tf.function`, where their steps are unrolled. Whatever
is compared runs in turn, and ratios are medians of pairs: of the wall time, and of the
processor's, which others on the same core disturb less. Prints Markdown tables.
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

from keras_gce import models
from keras_gce.attacks import BIM, MIM, PGD
from keras_gce.classifier import Classifier

EPS = 0.3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--tables", nargs="+", default=TABLES, choices=TABLES, help="which of them"
    )
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = models.LeNet5()
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random((args.images, 28, 28, 1), "float32"))
    y = tf.constant(rng.integers(0, 10, args.images), "int32")
    for table in args.tables:
        TABLES[table](model, x, y, args.repeats)


def by_steps(model, x, y, repeats):
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
            last = gradient(x)
        return last

    print("| steps | PGD s | s a step | over the floor | of processor time |")
    print("|---|---|---|---|---|")
    classifier = Classifier(model)
    for steps in (1, 10, 20, 40, 80):
        attack = PGD(eps=EPS, steps=steps, seed=0)
        _, (ours, _), ratios = compare(
            lambda attack=attack: attack.run(classifier, x, y),
            lambda steps=steps: floor(steps),
            repeats,
        )
        print(
            f"| {steps} | {ours:.3f} | {ours / steps:.4f} | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} |",
            flush=True,
        )


def by_library(model, x, y, repeats):
    print(
        "\n| attack | first call s | CleverHans | call s | CleverHans | ratio | "
        "of processor time |\n|---|---|---|---|---|---|---|"
    )
    for attack in (PGD(eps=EPS, seed=0), MIM(eps=EPS), BIM(eps=EPS)):
        theirs = cleverhans(model, attack)
        first, seconds, ratios = compare(
            lambda attack=attack: attack(model, x, y),
            lambda theirs=theirs: theirs(x, y),
            repeats,
        )
        print(
            f"| {attack.name}-{attack.steps} | {first[0]:.2f} | {first[1]:.2f} | "
            f"{seconds[0]:.3f} | {seconds[1]:.3f} | {ratios[0]:.3f} | "
            f"{ratios[1]:.3f} |",
            flush=True,
        )


def cleverhans(model, attack):
    """CleverHans's attack of the same settings, as one `tf.function`."""
    from cleverhans.tf2.attacks import (
        momentum_iterative_method,
        projected_gradient_descent,
    )

    def logits(x):
        return model(x, training=False)

    step_size = float(attack.settings(0)["step_size"])
    common = {"clip_min": 0.0, "clip_max": 1.0, "sanity_checks": False}
    if attack.name == "MIM":
        fn = momentum_iterative_method.momentum_iterative_method
    else:
        fn = projected_gradient_descent.projected_gradient_descent
        common["rand_init"] = attack.random_start
    return tf.function(
        lambda x, y: fn(
            logits, x, attack.eps, step_size, attack.steps, np.inf, y=y, **common
        )
    )


def compare(ours, theirs, repeats):
    """Seconds of both first calls, and of later ones in turn; ratios of those."""
    first = [timed(call)[0] for call in (ours, theirs)]
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    seconds = [statistics.median(pair[who][0] for pair in pairs) for who in (0, 1)]
    ratios = [statistics.median(a[kind] / b[kind] for a, b in pairs) for kind in (0, 1)]
    return first, seconds, ratios


def timed(call):
    """Seconds of a call on the wall, and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    np.asarray(call())
    return time.perf_counter() - wall, time.process_time() - processor


TABLES = {"steps": by_steps, "cleverhans": by_library}

if __name__ == "__main__":
    main()

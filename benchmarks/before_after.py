"""Whole calls of PGD, checks and all, beside those of another checkout of the package.

    git worktree add ../older COMMIT
    python benchmarks/before_after.py ../older

Each call is `np.asarray(attack(model, x, y))` after two others. The checkouts run in
turn, each time in a process of their own. Prints a Markdown table of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HERE = Path(__file__).parents[1]
# Batch size and steps, and calls of each.
SIZES = ((16, 5, 30), (64, 10, 30), (500, 40, 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure()))
        return
    found = {}
    for _ in range(args.rounds):
        for number, folder in enumerate((Path(args.older).resolve(), HERE)):
            process = subprocess.run(
                [sys.executable, __file__, str(folder), "--one"],
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(folder)},
            )
            if process.returncode:
                sys.exit(process.stderr)
            for name, ms in json.loads(process.stdout.splitlines()[-1]).items():
                found.setdefault(name, ([], []))[number].append(ms)
    print(
        "| model | images | steps | older ms | ms | ratio |\n|---|---|---|---|---|---|"
    )
    for name, columns in found.items():
        older, now = map(statistics.median, columns)
        print(f"| {name} | {older:.1f} | {now:.1f} | {now / older:.2f} |")


def measure():
    """Returns the median time of a call in ms, by model, images and steps."""
    import time

    import keras
    import numpy as np

    from keras_gce import models
    from keras_gce.attacks import PGD

    layers = keras.layers
    dense = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rng, found = np.random.default_rng(0), {}
    for name, model in (("LeNet-5", models.LeNet5()), ("dense, softmax", dense)):
        for images, steps, calls in SIZES:
            x = rng.random((images, 28, 28, 1), "float32")
            y = rng.integers(0, 10, images).astype("int32")
            attack = PGD(eps=0.3, steps=steps, step_size=0.01, seed=0)
            seconds = []
            for _ in range(calls + 2):
                start = time.perf_counter()
                np.asarray(attack(model, x, y))
                seconds.append(time.perf_counter() - start)
            found[f"{name} | {images} | {steps}"] = 1e3 * statistics.median(seconds[2:])
    return found


if __name__ == "__main__":
    main()

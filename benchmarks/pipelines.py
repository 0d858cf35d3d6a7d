"""Images per second of each input pipeline, beside what its model trains.

    python benchmarks/pipelines.py

Random images of each dataset's shape, batches as its recipe has them. A pipeline is no
bottleneck where it is many times faster than the model's own training step. Prints a
Markdown table.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_gce import recipes
from keras_gce.datasets import Dataset, Split

SHAPES = {
    "mnist": ((28, 28, 1), 10, 54_000),
    "cifar10": ((32, 32, 3), 10, 45_000),
    "cifar100": ((32, 32, 3), 100, 45_000),
    "tiny_imagenet": ((64, 64, 3), 200, 20_000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--datasets", nargs="+", default=list(SHAPES), choices=SHAPES)
    args = parser.parse_args()
    print("| dataset | model | augmented | pipeline images/s | training | ratio |")
    print("|---|---|---|---|---|---|")
    for name in args.datasets:
        shape, num_classes, count = SHAPES[name]
        rng = np.random.default_rng(0)
        split = Split(
            rng.integers(0, 256, (count, *shape), "uint8"),
            rng.integers(0, num_classes, count),
        )
        names = tuple(map(str, range(num_classes)))
        data = Dataset(name, split, split.take(0), split.take(0), num_classes, names)
        recipe = recipes.recipe_for(name, "crossentropy")
        settings = {"shuffle": True, "augment": recipe.augment, "seed": 0}
        batches = split.batches(recipe.batch_size, **settings)
        rates = [pipeline(batches, count) for _ in range(args.repeats + 1)][1:]
        fed = statistics.median(rates)
        trained = training(recipe, data, args.repeats)
        print(
            f"| {name} | {recipe.model} | {'yes' if recipe.augment else 'no'} | "
            f"{fed:,.0f} | {trained:,.0f} | {fed / trained:.0f} |",
            flush=True,
        )


def pipeline(batches, count):
    """Images per second of one pass over the data."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - start)


def training(recipe, data, repeats):
    """Images per second of the compiled training step, on one batch."""
    model = recipes.network(recipe, data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(recipes.optimizer(recipe, data), loss)
    x, y = data.train.take(recipe.batch_size).arrays()
    model.train_on_batch(x, y)  # traces
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    return recipe.batch_size / statistics.median(seconds)


if __name__ == "__main__":
    main()

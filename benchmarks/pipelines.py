"""Images per second in training, beside the input pipeline and the bare training step.

    python benchmarks/pipelines.py [--dtype-policy mixed_bfloat16 --peak-tflops 989]

Random images of each dataset's shape, batches as its recipe has them, under whichever
Keras backend is chosen. The pipeline is no bottleneck where `fit` trains as many images
as the bare step does on one batch that is there already. The share of peak is that of
the multiplications and additions of the convolutions and dense layers, forward and
backward, in what the device can do by its data sheet. Prints a Markdown table.
"""

import argparse
import math
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
    parser.add_argument("--batches", type=int, default=20, help="of an epoch of `fit`")
    parser.add_argument("--dtype-policy", choices=recipes.DTYPE_POLICIES)
    parser.add_argument("--peak-tflops", type=float, help="of the device, as it trains")
    args = parser.parse_args()
    print(f"{keras.backend.backend()}, {args.dtype_policy or 'float32'}, images/s\n")
    print("| dataset | model | pipeline | step | fit | fit / step | share of peak |")
    print("|---|---|---|---|---|---|---|")
    for name in args.datasets:
        shape, num_classes, count = SHAPES[name]
        rng = np.random.default_rng(0)
        split = Split(
            rng.integers(0, 256, (count, *shape), "uint8"),
            rng.integers(0, num_classes, count),
        )
        names = tuple(map(str, range(num_classes)))
        data = Dataset(name, split, split.take(0), split.take(0), num_classes, names)
        recipe = recipes.recipe_for(
            name, "crossentropy", dtype_policy=args.dtype_policy
        )
        settings = {"shuffle": True, "augment": recipe.augment, "seed": 0}
        batches = split.batches(recipe.batch_size, **settings)
        rates = [pipeline(batches, count) for _ in range(args.repeats + 1)][1:]
        fed = statistics.median(rates)
        short = split.take(min(args.batches * recipe.batch_size, count))
        short_batches = short.batches(recipe.batch_size, **settings)
        model, pairs = compiled(recipe, data), []
        for repeat in range(args.repeats + 1):  # the first one traces
            pair = step(model, recipe, data), fitted(model, short_batches, len(short))
            pairs += [pair] * (repeat > 0)
        bare, fit = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        share = "–"
        if args.peak_tflops:
            share = f"{fit * flops(model) / args.peak_tflops / 1e12:.1%}"
        print(
            f"| {name} | {recipe.model} | {fed:,.0f} | {bare:,.0f} | {fit:,.0f} | "
            f"{ratio:.2f} | {share} |",
            flush=True,
        )


def pipeline(batches, count):
    """Images per second of one pass over the data."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - start)


def compiled(recipe, data):
    """Returns the recipe's model, ready to train."""
    model = recipes.network(recipe, data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(recipes.optimizer(recipe, data), loss)
    return model


def step(model, recipe, data):
    """Images per second of the compiled training step, on one batch."""
    x, y = map(keras.ops.convert_to_tensor, data.train.take(recipe.batch_size).arrays())
    model.train_on_batch(x, y)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    return recipe.batch_size / statistics.median(seconds)


def fitted(model, batches, count):
    """Images per second of an epoch of `fit`."""
    start = time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    return count / (time.perf_counter() - start)


def flops(model):
    """Floating-point operations to train on one image: two passes back, one forward."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            places = math.prod(layer.output.shape[1:-1])
            total += 2 * places * math.prod(layer.kernel.shape)
    return 3 * total


if __name__ == "__main__":
    main()

"""Images per second in training, beside the same steps in one compiled loop.

    python benchmarks/pipelines.py [--dtype-policy mixed_bfloat16 --peak-tflops 989]

Random images of each dataset's shape, batches as its recipe has them, under whichever
Keras backend is chosen. The floor is `loop`: the model's own train step, again and
again on one batch that lies on the device, in one compiled loop. `fit` reads from
`Split.batches`; `train` is `recipes.train` as the command line calls it, with a
checkpoint. The three take turns, `train` by several epochs, since it writes weights by
the clock. The adversarial step is one of `AdversarialModel` in the same loop, with PGD
of 10 steps; its floor is a plain step and 10 compiled forward and input-gradient
passes. The share of peak is that of the multiplications and additions of the
convolutions and dense layers, forward and backward, at the speed of `train`, in what
the device can do by its data sheet. Prints a Markdown table.
"""

import argparse
import dataclasses
import math
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops

from keras_gce import backend, recipes
from keras_gce.attacks import PGD
from keras_gce.classifier import Classifier
from keras_gce.datasets import Dataset, Split
from keras_gce.recipes import epochs
from keras_gce.training import AdversarialModel

# Shape, classes, and settings of the recipe. Of digits the step is a small one, where
# the host's share shows.
DATASETS = {
    "digits": ((28, 28, 1), 10, {"model": "small_cnn", "batch_size": 16}),
    "mnist": ((28, 28, 1), 10, {}),
    "cifar10": ((32, 32, 3), 10, {}),
    "cifar100": ((32, 32, 3), 100, {}),
    "tiny_imagenet": ((64, 64, 3), 200, {}),
}
STEPS = 10  # of PGD


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=["digits", "mnist", "cifar10"],
        choices=DATASETS,
    )
    parser.add_argument("--batches", type=int, default=200, help="of an epoch")
    parser.add_argument("--turn", type=int, default=5, help="epochs of a turn of train")
    parser.add_argument("--dtype-policy", choices=recipes.DTYPE_POLICIES)
    parser.add_argument("--peak-tflops", type=float, help="of the device, as it trains")
    args = parser.parse_args()
    print(f"{keras.backend.backend()}, {args.dtype_policy or 'float32'}, images/s\n")
    print(
        "| dataset | model | batch | step ms | loop | fit | train | fit / loop | "
        "train / loop | adversarial step / floor | share of peak |"
    )
    print("|---" * 11 + "|")
    for name in args.datasets:
        print(row(name, args), flush=True)


def row(name, args):
    """Returns the line of a dataset."""
    shape, num_classes, settings = DATASETS[name]
    recipe = recipes.recipe_for(
        name,
        "crossentropy",
        epochs=(args.repeats + 1) * args.turn + 1,
        dtype_policy=args.dtype_policy,
        **settings,
    )
    rng = np.random.default_rng(0)
    count = args.batches * recipe.batch_size
    split = Split(
        rng.integers(0, 256, (count, *shape), "uint8"),
        rng.integers(0, num_classes, count),
    )
    none = split.take(0)
    data = Dataset(name, split, none, none, num_classes, tuple("c" * num_classes))
    x, y = split.take(recipe.batch_size).arrays()

    plain, fitted = compiled(recipe, data), compiled(recipe, data)
    loop = looped(plain, (x, y), args.batches)
    settings = {"shuffle": True, "augment": recipe.augment, "seed": 0}
    batches = split.batches(recipe.batch_size, **settings)

    def fit():
        fitted.fit(batches, shuffle=False, verbose=0)

    seconds = turns(recipe, data, [loop, fit], args.turn)
    rates = [[count / s for s in each] for each in seconds]
    bare, by_fit, train = (statistics.median(each) for each in zip(*rates, strict=True))
    fit_ratio = statistics.median(fit / bare for bare, fit, _ in rates)
    ratio = statistics.median(train / bare for bare, _, train in rates)

    share = "–"
    if args.peak_tflops:
        share = f"{train * flops(plain) / args.peak_tflops / 1e12:.1%}"
    adversarial = adversarial_ratio(recipe, data, plain, (x, y), args)
    return (
        f"| {name} | {recipe.model} | {recipe.batch_size} | "
        f"{1000 * recipe.batch_size / bare:.2f} | {bare:,.0f} | {by_fit:,.0f} | "
        f"{train:,.0f} | {fit_ratio:.2f} | {ratio:.2f} | {adversarial:.2f} | {share} |"
    )


def compiled(recipe, data):
    """Returns the recipe's model, ready to train, as `recipes.train` has it."""
    model = recipes.network(recipe, data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(recipes.optimizer(recipe, data), loss, metrics=["accuracy"])
    return model


def looped(trainer, batch, steps):
    """Returns a function that trains so many steps on one batch that is there."""
    epochs.build(trainer, batch[0][:1], batch[1][:1])
    run = backend.training_loop(trainer, lambda data, rows: data, batch)
    rows = (np.zeros((steps, 1), "int32"),)
    return lambda: run(rows, 0, steps)


def turns(recipe, data, others, turn):
    """Seconds of the others and of an epoch of `recipes.train`, in turn.

    Without the first turn, where something is compiled.
    """
    found, original = [], epochs.Epochs.stretches

    def stretches(self, epoch, step=0):
        if epoch % turn == 0:
            if found:
                found[-1].append((time.perf_counter() - found[-1].pop()) / turn)
            found.append([timed(other) for other in others])
            found[-1].append(time.perf_counter())
        return original(self, epoch, step)

    epochs.Epochs.stretches = stretches
    try:
        with tempfile.TemporaryDirectory() as folder:
            recipes.train(recipe, data, checkpoint=folder, progress=False)
    finally:
        epochs.Epochs.stretches = original
    return found[1:-1]


def adversarial_ratio(recipe, data, plain, batch, args):
    """An adversarial step beside a plain step and the passes that it needs."""
    inner = compiled(dataclasses.replace(recipe, epochs=1), data)
    attack = PGD(eps=8 / 255, steps=STEPS, seed=0)
    trainer = AdversarialModel(inner, attack)
    trainer.compile(
        recipes.optimizer(recipe, data),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    steps = max(2, args.batches // (STEPS + 1))
    step, floor = looped(trainer, batch, steps), looped(plain, batch, steps)
    classifier, (x, y) = Classifier(plain), map(ops.convert_to_tensor, batch)
    crossentropy = keras.losses.sparse_categorical_crossentropy

    def gradient(classifier, x, y):
        def values(x):
            return crossentropy(y, classifier.logits(x), from_logits=True), None

        return backend.gradient_of(values, x)[0]

    def passes():
        for _ in range(STEPS * steps):
            found = backend.run_compiled(classifier, "bench", gradient, (x, y), {})
        np.asarray(found)

    step(), floor(), passes()
    triples = [[timed(fn) for fn in (step, floor, passes)] for _ in range(args.repeats)]
    return statistics.median(a / (b + c) for a, b, c in triples)


def timed(function):
    """Seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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

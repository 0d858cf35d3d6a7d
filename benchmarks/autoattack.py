"""Our attacks beside those of AutoAttack's authors: same model, images and eps.

    python benchmarks/autoattack.py --official FOLDER

FOLDER is a clone of github.com/fra31/auto-attack, which PyPI lacks; without the option
a package `autoattack` has to be installed. Their code runs under PyTorch (the CPU build
does), on a plain copy of the model's weights, in the process of ours, whose Keras may
run on any backend.

The model is a LeNet-5 that is trained here on MNIST, or by `--weights` one that an
earlier run has kept. Each row is an attack alone, on all images; `--seeds 5` runs it
from five seeds, of which accuracies are means and the images sums.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time

import numpy as np

# Ours, theirs; "whole" is the ensemble.
NAMES = {
    "apgd-ce": "APGD-CE",
    "apgd-t": "APGD-T",
    "fab-t": "FAB-T",
    "square": "Square",
    "whole": "AutoAttack",
}
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", help="a clone of the authors' repository")
    parser.add_argument("--weights", help="an .npz: read if there, else written")
    parser.add_argument("--adversarial", action="store_true", help="PGD training")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--attacks", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--norm", choices=list(NORMS), default="linf")
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--queries", type=int, default=5000, help="Square's, alone")
    parser.add_argument("--rescale", action="store_true", help="both Squares' schedule")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # In place of this script's folder, where `autoattack` would be this script.
    sys.path[:1] = [args.official] if args.official else []

    import torch

    from keras_gce import datasets

    # Several wait for TensorFlow's.
    torch.set_num_threads(1)
    data = datasets.load("mnist", validation=0)
    model = lenet(args, data)
    x, y = data.test.take(args.examples).arrays()
    print(
        f"LeNet-5, {'PGD' if args.adversarial else 'plain'} training, MNIST, {len(y)} "
        f"images, {args.norm} {args.eps:g}, {args.seeds} seed(s)"
    )
    print(
        "| attack | ours, % | authors', % | decided differently | ours, s "
        "| authors', s |\n|---|---|---|---|---|---|"
    )
    for name in args.attacks:
        sides = [[], []]
        start = time.perf_counter()
        for seed in range(args.seeds):
            sides[0].append(ours(args, name, model, x, y, seed))
        between = time.perf_counter()
        for seed in range(args.seeds):
            sides[1].append(theirs(args, name, twin(model), x, y, seed))
        seconds = between - start, time.perf_counter() - between
        a, b = (100 * np.mean(side) for side in sides)
        differ = np.sum(np.array(sides[0]) != np.array(sides[1]))
        label = NAMES[name]
        if name == "square":
            label += f", {args.queries} queries{', rescaled' * args.rescale}"
        print(
            f"| {label} | {a:.2f} | {b:.2f} | {differ} of {args.seeds * len(y)} "
            f"| {seconds[0]:.0f} | {seconds[1]:.0f} |",
            flush=True,
        )


def lenet(args, data):
    import keras

    from keras_gce import models
    from keras_gce.attacks import PGD
    from keras_gce.training import AdversarialModel

    keras.utils.set_random_seed(0)
    model = models.LeNet5()
    if args.weights and pathlib.Path(args.weights).exists():
        with np.load(args.weights) as kept:
            model.set_weights([kept[name] for name in kept.files])
        return model
    fitted = model
    if args.adversarial:
        attack = PGD(eps=0.3, steps=10)
        fitted = AdversarialModel(model, attack, warmup_steps=469)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fitted.compile("adam", loss)
    fitted.fit(*data.train.arrays(), epochs=args.epochs, batch_size=128, verbose=0)
    if args.weights:
        np.savez(args.weights, *model.get_weights())
    return model


def ours(args, name, model, x, y, seed):
    """Which images are left right."""
    from keras_gce import attacks, evaluate

    ball = {"eps": args.eps, "norm": args.norm, "seed": seed}
    whole = attacks.AutoAttack(**ball)
    # Each as the standard version has it, as theirs is.
    attack = dict(zip(NAMES, (*whole.attacks, whole), strict=True))[name]
    if name == "square":
        attack = dataclasses.replace(
            attack, queries=args.queries, rescale_schedule=args.rescale
        )
    quiet = {"progress": False, "diagnostics": False}
    return evaluate(model, (x, y), attack, None, **quiet).robust


def theirs(args, name, logits, x, y, seed):
    import torch
    from autoattack import AutoAttack

    images = torch.tensor(x.transpose(0, 3, 1, 2))
    labels = torch.tensor(y.astype("int64"))
    norm = NORMS[args.norm]
    settings = {"norm": norm, "eps": args.eps, "seed": seed, "verbose": False}
    # The standard version sets what each attack does in it.
    attack = AutoAttack(logits, device="cpu", **settings)
    if name != "whole":
        attack.attacks_to_run = [name]
    if name == "square":
        attack.square.n_queries = args.queries
        attack.square.rescale_schedule = args.rescale
    x_adv = attack.run_standard_evaluation(images, labels, bs=500)
    with torch.no_grad():
        return (logits(x_adv).argmax(-1) == labels).numpy()


def twin(model):
    """The same LeNet-5 in PyTorch, of copies of the weights."""
    import torch
    from torch.nn import functional

    weights = [torch.tensor(weight) for weight in model.get_weights()]
    kernels, biases = weights[::2], weights[1::2]
    first, second = (k.permute(3, 2, 0, 1).contiguous() for k in kernels[:2])

    def logits(x):
        for kernel, bias, padding in ((first, biases[0], 2), (second, biases[1], 0)):
            x = functional.conv2d(x, kernel, bias, padding=padding).relu()
            x = functional.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for kernel, bias in zip(kernels[2:4], biases[2:4], strict=True):
            x = (x @ kernel + bias).relu()
        return x @ kernels[4] + biases[4]

    return logits


if __name__ == "__main__":
    main()

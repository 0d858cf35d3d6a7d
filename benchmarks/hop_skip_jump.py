"""keras_gce's HopSkipJump beside ART's: how near it comes for how many queries.

    pip install -e ".[all,bench]"
    python benchmarks/hop_skip_jump.py MODEL.keras --dataset mnist

The same model and images, those that the model has right. Each query is one image whose
class is asked; ART's are counted where it asks, and it is stopped when they are used
up. What counts is the nearest image of another class that was asked. FAB, which has the
gradient, stands beside both. Prints a Markdown table.
"""

import argparse
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_gce.losses  # noqa: F401
from keras_gce import datasets
from keras_gce.attacks import FAB, HopSkipJump


class SpentError(Exception):
    """All queries of an image are used up."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="MODEL.keras, as `keras-gce train` writes it")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--queries", type=int, nargs="+", default=[500, 1000, 5000])
    parser.add_argument("--norms", nargs="+", default=["linf", "l2"])
    parser.add_argument("--seeds", type=int, default=3, help="ours; ART has one")
    parser.add_argument("--ours", action="store_true", help="without ART")
    args = parser.parse_args()
    model = keras.models.load_model(args.model)
    x, y = datasets.load(args.dataset, data_dir=args.data_dir).test.arrays()
    x, y = x[: 2 * args.images], y[: 2 * args.images]
    right = model.predict(x, verbose=0).argmax(-1) == y
    x, y = x[right][: args.images], y[right][: args.images]
    print(
        f"{len(x)} images.\n\n"
        "| norm | queries | library | median distance | mean distance | seconds |\n"
        "|---|---|---|---|---|---|"
    )
    for norm in args.norms:
        rows = [
            (queries, f"keras_gce, seed {seed}", *run(jump, model, x, y))
            for queries in args.queries
            for seed in range(args.seeds)
            # Of a ball that holds every image: the least distance is looked for.
            for jump in [HopSkipJump(eps=1e3, norm=norm, queries=queries, seed=seed)]
        ]
        rows.append(("–", "FAB", *run(FAB(eps=1e3, norm=norm, seed=0), model, x, y)))
        rows += [] if args.ours else art(model, x, y, norm, args.queries)
        for queries, library, distances, seconds in rows:
            print(
                f"| {norm} | {queries} | {library} | {np.median(distances):.4f} | "
                f"{distances.mean():.4f} | {seconds:.1f} |",
                flush=True,
            )


def lengths(delta, norm):
    delta = delta.reshape(len(delta), -1)
    return np.linalg.norm(delta, ord=np.inf if norm == "linf" else 2, axis=1)


def run(attack, model, x, y):
    start = time.perf_counter()
    x_adv = np.asarray(attack(model, x, y))
    seconds = time.perf_counter() - start
    found = model.predict(x_adv, verbose=0).argmax(-1) != y
    return np.where(found, lengths(x_adv - x, attack.norm), np.inf), seconds


def art(model, x, y, norm, budgets):
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    np.random.seed(0)  # ART draws from the global stream.
    classes, one_hot = model.output_shape[-1], np.eye(model.output_shape[-1])
    found, began = np.full((len(budgets), len(x)), np.inf), time.perf_counter()
    for i in range(len(x)):
        asked, nearest = 0, np.inf

        def predict(images, i=i):
            nonlocal asked, nearest
            answers = np.asarray(model(images, training=False)).argmax(-1)
            far = lengths(images - x[i], norm)
            for answer, distance in zip(answers, far, strict=True):
                asked += 1
                if answer != y[i]:
                    nearest = min(nearest, distance)
                for k, budget in enumerate(budgets):
                    if asked <= budget:
                        found[k, i] = nearest
            if asked >= max(budgets):
                raise SpentError
            return one_hot[answers]

        classifier = BlackBoxClassifier(
            predict, x.shape[1:], classes, clip_values=(0.0, 1.0)
        )
        attack = HopSkipJump(
            classifier,
            norm=np.inf if norm == "linf" else 2,
            max_iter=1000,
            batch_size=1000,
            verbose=False,
        )
        try:
            attack.generate(x[i : i + 1], y=one_hot[y[i : i + 1]])
        except SpentError:
            continue
    seconds = time.perf_counter() - began
    # One run for all budgets.
    return [(b, "art", f, seconds) for b, f in zip(budgets, found, strict=True)]


if __name__ == "__main__":
    main()

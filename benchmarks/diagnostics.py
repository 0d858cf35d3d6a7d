"""What looking for masked gradients costs beside the attacks of an evaluation.

    python benchmarks/diagnostics.py [MODEL.keras --dataset NAME] [--eps E]

FGSM and PGD (40 steps, adaptive) on all images, and `diagnose` on the first 100 of
them, in turn: the first round compiles, of the others the median. Without a model a
small network is trained on the digits.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from keras_gce import datasets, evaluation, models, saving
from keras_gce.attacks import FGSM, PGD
from keras_gce.classifier import Classifier


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", metavar="MODEL.keras")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=4)
    args = parser.parse_args()
    dataset = datasets.load(args.dataset)
    classifier = Classifier(
        saving.load_model(args.model) if args.model else trained(dataset)
    )
    data = dataset.test.take(args.images).arrays()
    attacks = [FGSM(eps=args.eps), PGD(eps=args.eps, seed=0)]
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        report = evaluation.evaluate(
            classifier, data, attacks, progress=False, diagnostics=False
        )
        middle = time.perf_counter()
        evaluation.diagnose(classifier, *data, args.eps, robust=report.robust)
        seconds.append((middle - start, time.perf_counter() - middle))
    print(f"{classifier.name}, {args.images} images, eps {args.eps:g}, robust", end=" ")
    print(f"{report.worst_case_accuracy:.1%}:")
    for name, rounds in (("first", seconds[:1]), ("next", seconds[1:])):
        if rounds:
            a, b = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"  {name}: attacks {a:.1f} s, diagnostics {b:.1f} s ({b / a:.1f})")


def trained(dataset):
    keras.utils.set_random_seed(0)
    model = models.SmallCNN()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(*dataset.train.arrays(), batch_size=32, epochs=12, verbose=0)
    return model


if __name__ == "__main__":
    main()

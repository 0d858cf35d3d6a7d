"""One evaluation in one process, in parts, and on Ray's workers, side by side.

    python benchmarks/parts.py MODEL.keras --dataset mnist [--workers 2 --repeats 3]

The same images, attacks and batches three times over: `evaluate`; `evaluate` of each
batch as a part, and `merge`, in the same process, which says what a part costs beside
its attacks; and `evaluate_on_ray`, with the start of Ray and of each worker's backend,
which compile what they run themselves. What the first compiled the second finds, so
that a first run of each is left out. Prints the medians, of the wall's clock and of the
time that this process had its cores (what Ray's have is not in it), their ratios to
the first, and whether the rows are the same, image for image.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_gce import datasets, evaluation, saving
from keras_gce.attacks import APGD, FGSM, PGD, AutoAttack
from keras_gce.classifier import Classifier


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--attacks", nargs="+", default=["FGSM", "PGD", "AutoAttack"])
    args = parser.parse_args()

    classifier = Classifier(saving.load_model(args.model))
    test = datasets.load(args.dataset, validation=0).test.take(args.examples)
    known = {"FGSM": FGSM, "PGD": PGD, "APGD": APGD, "AutoAttack": AutoAttack}
    attacks = [known[name](eps=args.eps, seed=0) for name in args.attacks]
    data = test.arrays()
    settings = {"batch_size": args.batch_size, "diagnostics": False, "progress": False}

    def alone(**more):
        return evaluation.evaluate(classifier, data, attacks, **settings, **more)

    count = -(-len(test) // args.batch_size)
    ways = {
        "one process": alone,
        f"the same, {count} parts": lambda: evaluation.merge(
            [alone(part=(i, count)) for i in range(1, count + 1)]
        ),
        f"{args.workers} workers": lambda: evaluation.evaluate_on_ray(
            classifier, data, attacks, args.workers, **settings
        ),
    }
    alone()  # Compiles.
    clocks = {"seconds": time.perf_counter, "cores": time.process_time}
    times = {(name, clock): [] for name in ways for clock in clocks}
    rows = {}
    for _ in range(args.repeats):
        for name, run in ways.items():
            start = {clock: read() for clock, read in clocks.items()}
            rows[name] = run().row_robust
            for clock, read in clocks.items():
                times[name, clock].append(read() - start[clock])
    medians = {key: statistics.median(values) for key, values in times.items()}
    first = next(iter(ways))
    print("| way | seconds | ratio | CPU seconds here | ratio | same rows |")
    print("|---|---|---|---|---|---|")
    for name in ways:
        cells = [name]
        for clock in clocks:
            median = medians[name, clock]
            cells += [f"{median:.1f}", f"{median / medians[first, clock]:.3f}"]
        cells.append(str(np.array_equal(rows[name], rows[first])))
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

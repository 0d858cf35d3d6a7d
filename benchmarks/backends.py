"""The same model on the same images under TensorFlow, JAX and PyTorch.

    pip install -e ".[all,jax,torch]"
    python benchmarks/backends.py [MODEL.keras --dataset NAME]

Without a model it trains one with GCE on digits. Each backend runs in a process of its
own; the processes take turns, so that noise of the machine falls on all. TensorFlow has
a second one without oneDNN, which is its own default on some CPUs. Prints two Markdown
tables: robust accuracy (threat model "adaptive"; PGD's is the mean of 5 seeds, since
each backend draws other starts), and the time of PGD with 40 steps on 500 images,
compilation left out, beside that of 40 bare forward and gradient passes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAMES = {
    "tensorflow": {},
    "tensorflow without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "jax": {},
    "torch": {},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="path of a .keras file")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backends", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = f"{folder}/model.keras"
            train = ["train", "--dataset", args.dataset, "--output", args.model]
            command = [sys.executable, "-m", "keras_gce", *train]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        compare(args)


def compare(args):
    """Prints the tables."""
    workers = {name: Worker(name, args) for name in args.backends}
    rows = {name: worker.ask("report").split("\t") for name, worker in workers.items()}
    attacks = [row.split("=")[0] for row in rows[args.backends[0]]]
    print(f"| accuracy %, eps {args.eps:g} | {' | '.join(args.backends)} |")
    print("|---" * (1 + len(args.backends)) + "|")
    for i, attack in enumerate(attacks):
        figures = [rows[name][i].split("=")[1] for name in args.backends]
        print(f"| {attack} | {' | '.join(figures)} |", flush=True)
    times = {name: [] for name in args.backends}
    for _ in range(args.repeats):
        for name, worker in workers.items():
            times[name].append([float(s) for s in worker.ask("time").split("\t")])
    first = args.backends[0]
    print(f"\n| PGD, 40 steps, 500 images | s | / {first} | / 40 bare passes |")
    print("|---|---|---|---|")
    for name, pairs in times.items():
        both = zip(pairs, times[first], strict=True)
        ratio = median(a[0] / b[0] for a, b in both)
        floor = median(attack / passes for attack, passes in pairs)
        seconds = median(attack for attack, _ in pairs)
        print(f"| {name} | {seconds:.2f} | {ratio:.2f} | {floor:.2f} |")


class Worker:
    """A process under one backend, which answers a line with a line."""

    def __init__(self, name, args):
        command = [sys.executable, __file__, args.model, "--work"]
        command += ["--dataset", args.dataset, "--eps", str(args.eps)]
        command += ["--data-dir", args.data_dir] if args.data_dir else []
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"KERAS_BACKEND": name.split()[0]} | NAMES[name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what):
        """Returns the answer."""
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            sys.exit("A worker ended without an answer; its error is above")
        return answer


def work(args):
    """Answers "report" with accuracies and "time" with seconds."""
    import numpy as np
    from keras import ops

    from keras_gce import backend, datasets, evaluate, saving
    from keras_gce.attacks import BIM, FGSM, MIM, PGD
    from keras_gce.classifier import Classifier

    model = saving.load_model(args.model)
    classifier = Classifier(model)
    x, y = datasets.load(args.dataset, data_dir=args.data_dir).test.arrays()
    x, y = x[:1000], y[:1000]
    images, labels = np.resize(x, (500, *x.shape[1:])), np.resize(y, 500)
    pgd = PGD(eps=args.eps, steps=40, seed=0)

    def gradient(classifier, x, y):
        def loss(x):
            z = classifier.logits(x)
            return ops.sparse_categorical_crossentropy(y, z, from_logits=True), ()

        return backend.gradient_of(loss, x)[0]

    def passes():
        for _ in range(40):
            result = backend.run_compiled(
                classifier, "gradient", gradient, (images, labels), {}
            )
        return np.asarray(result)

    for line in sys.stdin:
        if line.strip() == "report":
            attacks = [attack(eps=args.eps) for attack in (FGSM, BIM, MIM)]
            attacks += [PGD(eps=args.eps, steps=40, seed=seed) for seed in range(5)]
            report = evaluate(model, (x, y), attacks, progress=False)
            rows = {"without attack": [report.clean_accuracy]}
            for row in report.results:
                name = f"{row.name} ({row.loss})"
                rows.setdefault(name, []).append(row.robust_accuracy)
            rows["worst case"] = [report.worst_case_accuracy]
            rows = {name: 100 * np.mean(values) for name, values in rows.items()}
            pgd.run(classifier, images, labels), passes()  # compiles
            print("\t".join(f"{k}={v:.2f}" for k, v in rows.items()), flush=True)
        else:
            start = time.perf_counter()
            np.asarray(pgd.run(classifier, images, labels))
            middle = time.perf_counter()
            passes()
            end = time.perf_counter()
            print(f"{middle - start}\t{end - middle}", flush=True)


if __name__ == "__main__":
    main()

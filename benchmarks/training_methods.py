"""What each kind of adversarial training costs, and what it keeps against AutoAttack.

    python benchmarks/training_methods.py

One network, one dataset, the same epochs, radius and warm-up for all. Cost is the time
of a step beside that of a natural one: the methods' compiled steps run in turn, so that
what else the machine does falls on all of them. Each finished model's figures are kept
in `--output`; the same line continues there. Prints a Markdown table, and draws it.
"""

import argparse
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

BATCH = 32
# Share of the updates over which eps grows.
WARMUP = 0.1


def methods(eps, seed):
    """Name -> what `AdversarialModel` is given; nothing for natural training."""
    from keras_gce.attacks import PGD
    from keras_gce.training import AWP, MART, TRADES

    pgd = PGD(eps=eps, steps=10, seed=seed)
    fast = PGD(eps=eps, step_size=1.25 * eps, steps=1, random_start=True, seed=seed)
    return {
        "natural": {},
        "fast": {"attack": fast},
        "PGD-10": {"attack": pgd},
        "TRADES": {"attack": pgd, "objective": TRADES()},
        "MART": {"attack": pgd, "objective": MART()},
        "AWP": {"attack": pgd, "weight_perturbation": AWP(0.01)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--output", default="keras_gce_output/training_methods")
    parser.add_argument("--picture", default="training_methods.png")
    args = parser.parse_args()
    from keras_gce import datasets, files

    data = datasets.load(args.dataset, validation=0)
    train = data.train.take(min(args.train_images, len(data.train)))
    test = data.test.take(args.examples)
    settings = vars(args).copy()
    for name in ("seeds", "rounds", "output", "picture"):
        del settings[name]
    folder = files.claim(args.output, "settings.json", settings)
    names = list(methods(args.eps, 0))
    found = {name: [] for name in names}
    for seed in range(args.seeds):
        for name in names:
            path = folder / f"{name}-{seed}.json"
            if not path.exists():
                figures = trained_and_attacked(name, train, test, args, seed)
                files.write_text(path, json.dumps(figures) + "\n")
            found[name].append(json.loads(path.read_text()))
            print(args.dataset, path.stem, found[name][-1], flush=True)
    costs = steps_in_turn(names, train, args)
    rows = {}
    print("\n| method | step / natural | clean % | PGD-40 % | AutoAttack % |")
    print("|---|---|---|---|---|")
    for name in names:
        each = {key: [run[key] for run in found[name]] for key in found[name][0]}
        rows[name] = (costs[name], each["autoattack"])
        cells = " | ".join(spread(each[key]) for key in ("clean", "pgd", "autoattack"))
        print(f"| {name} | {costs[name]:.2f} | {cells} |", flush=True)
    draw(rows, args, len(train), len(test))


def trainer(name, args, seed, images):
    """Returns the network, and what trains it, compiled: both new."""
    import keras

    from keras_gce import models
    from keras_gce.training import AdversarialModel

    keras.utils.set_random_seed(seed)
    model = made = models.SmallCNN()
    settings = methods(args.eps, seed)[name]
    updates = args.epochs * -(-images // BATCH)
    if settings:
        made = AdversarialModel(model, warmup_steps=round(WARMUP * updates), **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # As in `keras-gce reproduce outer_loss`: all have converged at the end.
    rate = keras.optimizers.schedules.CosineDecay(4e-3, updates)
    made.compile(keras.optimizers.Adam(rate, beta_2=0.99), loss)
    return model, made


def trained_and_attacked(name, train, test, args, seed):
    """Trains a model, and returns its accuracies in %."""
    from keras_gce import evaluate
    from keras_gce.attacks import PGD, AutoAttack

    model, made = trainer(name, args, seed, len(train))
    made.fit(*train.arrays(), batch_size=BATCH, epochs=args.epochs, verbose=0)
    attacks = [PGD(eps=args.eps, steps=40), AutoAttack(eps=args.eps)]
    settings = {"progress": False, "diagnostics": False}
    report = evaluate(model, test, attacks, threat_model="crossentropy", **settings)
    pairs = list(zip(report.results, report.row_robust, strict=True))
    ensemble = [robust for result, robust in pairs if result.ensemble]
    (pgd,) = (robust for result, robust in pairs if result.name == "PGD")
    return {
        "clean": 100 * report.clean_accuracy,
        "pgd": 100 * float(pgd.mean()),
        "autoattack": 100 * float(np.all(ensemble, axis=0).mean()),
    }


def steps_in_turn(names, train, args):
    """Returns the time of each method's step, in natural ones: medians of ratios."""
    import tensorflow as tf

    x, y = train.take(BATCH).arrays()
    # As `fit` has them: compiled, reading from an iterator.
    steps = {}
    for name in names:
        _, made = trainer(name, args, 0, len(train))
        data = tf.data.Dataset.from_tensors((x, y)).repeat()
        made.fit(data, steps_per_epoch=1, verbose=0)
        steps[name] = made.train_function, iter(data)
    ratios = {name: [] for name in names}
    for _ in range(args.rounds):
        seconds = {}
        for name, (step, data) in steps.items():
            start = time.perf_counter()
            step(data)["loss"].numpy()
            seconds[name] = time.perf_counter() - start
        for name in names:
            ratios[name].append(seconds[name] / seconds["natural"])
    return {name: statistics.median(values) for name, values in ratios.items()}


def spread(values):
    """The mean, and the standard deviation where there are several."""
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{deviation}"


def draw(rows, args, images, examples):
    """Draws cost against robust accuracy, with the standard deviation over seeds."""
    from keras_gce.plotting.axes import COLOURS, MARKERS, new_figure

    figure = new_figure(7.0, 4.4)
    ax = figure.subplots()
    for (name, (cost, robust)), colour, marker in zip(
        rows.items(), COLOURS, MARKERS, strict=False
    ):
        error = np.std(robust, ddof=1) if len(robust) > 1 else None
        style = {"color": colour, "marker": marker, "capsize": 3, "linestyle": "none"}
        ax.errorbar([cost], [np.mean(robust)], yerr=error, label=name, **style)
    ax.set(
        xlabel="time of training, in that of natural training",
        ylabel=f"accuracy under AutoAttack (%), linf eps {args.eps:g}",
        ylim=(-2, 102),
        title=f"{args.dataset}, small_cnn, {images} training images, {args.epochs} "
        f"epochs;\n{args.seeds} seed(s) (mean, standard deviation), {examples} test "
        "images",
    )
    ax.set_xlim(left=0)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    dpi = 1400 / figure.get_size_inches()[0]
    figure.savefig(pathlib.Path(args.picture), dpi=dpi)


if __name__ == "__main__":
    main()

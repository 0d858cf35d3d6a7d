"""What the flags say of models whose robustness is fake, and of some that hold.

    TF_ENABLE_ONEDNN_OPTS=1 python benchmarks/zoo.py [--seeds 3] [--autoattack]

The models of tests/zoo.py, on the digits; each is attacked as `evaluate` does by
default. Beside its worst case stands what the best attack on its undefended twin leaves
of it. A fake is a miss where it is more than 5 points above that and no flag is raised;
what holds is a miss where a flag of masked gradients is raised.
"""

import argparse
import collections
import pathlib
import sys

import keras

from keras_gce import datasets, evaluation
from keras_gce.attacks import FGSM, PGD, AutoAttack, RandomNoise, Transfer
from keras_gce.evaluation.sanity import FIRST

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

import zoo

RADII = (0.03, 0.1, 0.2)
POINTS = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="of twins and trainings")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--radii", type=float, nargs="+", default=RADII)
    parser.add_argument("--only", nargs="+", help="names of models")
    parser.add_argument(
        "--autoattack", action="store_true", help="with noise and AutoAttack"
    )
    args = parser.parse_args()
    dataset = datasets.load("digits")
    test = dataset.test.take(args.images).arrays()
    rows = collections.defaultdict(list)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        twin = zoo.twin_of(dataset, seed)
        for entry in zoo.ZOO:
            if args.only and entry.name not in args.only:
                continue
            keras.utils.set_random_seed(seed)
            model = entry.build(twin, dataset)
            for eps in args.radii:
                report, left = outcome(model, twin, test, eps, args.autoattack)
                rows[entry].append((report, left))
                raised = {flag.name: flag.value for flag in report.flags}
                print(
                    f"{entry.name} seed {seed} eps {eps:g}: robust "
                    f"{report.worst_case_accuracy:.2f} twin {left:.2f} {raised}",
                    file=sys.stderr,
                )
    print("| model | mechanism | clean % | robust % | twin % | flags |")
    print("|---|---|---|---|---|---|")
    misses = 0
    for entry, outcomes in rows.items():
        misses += show(entry, outcomes)
    print(f"\n{misses} misses in {sum(map(len, rows.values()))} evaluations")


def outcome(model, twin, test, eps, autoattack):
    """The report of a model, and what the best attack on its twin leaves of it."""
    attacks = [FGSM(eps=eps), PGD(eps=eps, seed=0)]
    if autoattack:
        attacks += [RandomNoise(eps=eps, seed=0), AutoAttack(eps=eps, seed=0)]
    report = evaluation.evaluate(model, test, attacks, progress=False)
    transfer = evaluation.evaluate(
        model,
        test,
        [
            Transfer(
                source=zoo.source_for(twin, model),
                attack=PGD(eps=eps, step_size=eps / 16, loss=loss, seed=0),
            )
            for loss in ("crossentropy", "margin")
        ],
        threat_model=None,
        progress=False,
        diagnostics=False,
    )
    return report, transfer.worst_case_accuracy


def show(entry, outcomes):
    """Prints a model's row; returns its misses."""
    raised = collections.Counter()
    misses = 0
    for report, left in outcomes:
        names = [flag.name for flag in report.flags]
        raised.update(names)
        if entry.holds:
            misses += bool(set(names) - set(FIRST))
        else:
            misses += report.worst_case_accuracy - left > POINTS and not names
    flags = ", ".join(
        name if count == len(outcomes) else f"{name} ({count} of {len(outcomes)})"
        for name, count in raised.most_common()
    )
    percents = [
        " / ".join(f"{100 * value:.0f}" for value in values)
        for values in (
            [report.clean_accuracy for report, _ in outcomes],
            [report.worst_case_accuracy for report, _ in outcomes],
            [left for _, left in outcomes],
        )
    ]
    name = f"`{entry.name}`" + " (holds)" * entry.holds + " (late)" * entry.late
    cells = (name + " **missed**" * bool(misses), entry.mechanism, *percents)
    print(f"| {' | '.join(cells)} | {flags or 'none'} |", flush=True)
    return misses


if __name__ == "__main__":
    main()

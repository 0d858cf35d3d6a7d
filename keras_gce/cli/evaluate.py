"""`keras-gce evaluate`."""

import argparse
import contextlib
import dataclasses
import shlex
import sys
from typing import TYPE_CHECKING, Any

from keras_gce import progress
from keras_gce.cli import data, gates, models, options, views, workers
from keras_gce.cli.attack_options import (
    add_attacks,
    attacks_of,
    curve_attack,
    radii_of,
    usual_in_l1,
)

if TYPE_CHECKING:  # They bring Keras.
    import keras

    from keras_gce.datasets import Split
    from keras_gce.evaluation import RobustnessReport

__all__ = ["add", "run"]

# Of the page's curves: the images attacked at each radius.
CURVE_EXAMPLES = 200


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands, "evaluate", run, "attack a saved model and report"
    )
    parser.add_argument("model", metavar="MODEL.keras", help="the model")
    data.add_dataset(parser)
    models.add_loading(parser)
    add_attacks(parser)
    parser.add_argument(
        "--source",
        metavar="OTHER.keras",
        help="a second model, whose adversarial examples are tried too",
    )
    parser.add_argument(
        "--examples",
        type=options.count,
        default=1000,
        help="test images, the first ones",
    )
    parser.add_argument(
        "--batch-size", type=options.count, default=500, help="images at once"
    )
    parser.add_argument(
        "--part",
        type=options.part,
        metavar="I/N",
        help="the I-th of N parts of the test images, which `merge` makes one report; "
        "a part is of whole batches",
    )
    workers.add_workers(parser, "parts are attacked")
    parser.add_argument("--checkpoint", help="folder where a killed evaluation resumes")
    parser.add_argument("--output", metavar="REPORT.json", help="the report to write")
    parser.add_argument(
        "--html", metavar="REPORT.html", help="a page with charts to write"
    )
    parser.add_argument(
        "--save-adversarial",
        metavar="FILE.npz",
        help="what broke each image to write, with its attack",
    )
    options.add_overwrite(parser)
    gates.add_gates(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code."""
    gates.check_gates(args)
    workers.check_workers(args)
    outputs = views.outputs(
        args,
        views.kinds("--output", "--html", "--save-adversarial"),
        views.inputs(args, MODEL=args.model, **{"--source": args.source})
        | models.files_of(args),
    )
    from keras_gce import evaluation

    words = usual_in_l1(args)
    if words:
        progress.say(words)
    # What an attack refuses is refused before anything is loaded.
    attacks_of(args)
    model = models.load(args, args.model)
    classifier = models.classifier_of(args, model)
    dataset = data.load(args, classifier)
    source = models.load(args, args.source, "`--source`") if args.source else None
    test = dataset.test.take(min(args.examples, len(dataset.test)))
    settings: dict[str, Any] = {
        "threat_model": args.threat_model,
        "batch_size": args.batch_size,
        "checkpoint": args.checkpoint,
        "bounds": args.bounds,
        "keep_adversarial": args.save_adversarial is not None,
    }
    given = model, test, attacks_of(args, source)
    if args.workers:
        cluster = args.workers, args.address
        report = evaluation.evaluate_on_ray(*given, *cluster, **settings)
    else:
        report = evaluation.evaluate(*given, part=args.part, **settings)
    told = {
        "command": shlex.join(["keras-gce", *args.argv]),
        "model": args.model,
        "dataset": args.dataset,
    }
    report = dataclasses.replace(
        report,
        class_names=list(dataset.class_names),
        setup=report.setup | told,
    )
    # Before anything is printed, where a reader may have gone, and with the curves
    # again, which take their time.
    try:
        views.write(outputs, report, "--output", "--html", "--save-adversarial")
    finally:
        print(report.to_markdown())
    # Curves are of the first images, in whichever part these are.
    if "--html" in outputs and args.part is None:
        report = _with_curves(report, model, test, args)
        views.write(outputs, report, "--output", "--html")
    for name, path in outputs.items():
        what = "examples" if name == "--save-adversarial" else "report"
        print(f"{what} written to {path}")
    failed = gates.failures(report, args)
    for line in failed:
        with contextlib.suppress(OSError):  # The code says it too.
            print(f"keras-gce: gate: {line}", file=sys.stderr, flush=True)
    return gates.FAILED if failed else 0


def _with_curves(
    report: "RobustnessReport",
    model: "keras.Model",
    test: "Split",
    args: argparse.Namespace,
) -> "RobustnessReport":
    from keras_gce import evaluation

    if not max(args.eps):
        return report
    curves = evaluation.accuracy_curves(
        model,
        test.take(min(CURVE_EXAMPLES, len(test))),
        radii_of(args.eps),
        attack=curve_attack(args),
        batch_size=args.batch_size,
    )
    return dataclasses.replace(report, curves=curves)

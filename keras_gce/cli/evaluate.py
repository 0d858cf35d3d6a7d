"""`keras-gce evaluate`."""

import argparse
import dataclasses
import shlex
from typing import TYPE_CHECKING

from keras_gce import names
from keras_gce.cli import options
from keras_gce.errors import InputError

if TYPE_CHECKING:  # They bring Keras.
    from keras_gce.attacks import PGD, Attack

__all__ = ["add", "run"]

# Of the page's curves: the images attacked at each radius, and the radii, in eps.
CURVE_EXAMPLES = 200
CURVE_RADII = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2)


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands, "evaluate", run, "attack a saved model and report"
    )
    parser.add_argument("model", metavar="MODEL.keras", help="the model")
    options.add_dataset(parser)
    parser.add_argument(
        "--eps",
        type=options.number,
        required=True,
        help="radius of the ball, in the unit of the pixels",
    )
    parser.add_argument(
        "--bounds",
        type=options.any_number,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(0.0, 1.0),
        help="least and greatest value of a pixel, as the model takes them: 0 255",
    )
    parser.add_argument("--norm", choices=names.NORMS, default="linf", help="norm")
    usual = ("fgsm", "pgd", "noise", "autoattack")
    parser.add_argument(
        "--attacks",
        type=options.names_among(names.ATTACKS),
        default=",".join(usual),
        help="attacks, separated by commas: these, "
        + ", ".join(name for name in names.ATTACKS if name not in usual),
    )
    parser.add_argument(
        "--source",
        metavar="OTHER.keras",
        help="a second model, whose adversarial examples are tried too",
    )
    parser.add_argument(
        "--threat-model",
        choices=names.THREAT_MODELS,
        default="adaptive",
        help="what the attacks ascend",
    )
    parser.add_argument(
        "--engine", choices=names.ENGINES, default="keras_gce", help="whose"
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
    parser.add_argument("--checkpoint", help="folder where a killed evaluation resumes")
    parser.add_argument("--output", help="REPORT.json to write")
    parser.add_argument("--html", help="REPORT.html to write: a page with charts")


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    from keras_gce import files

    path = files.output_file(args.output) if args.output else None
    page = files.output_file(args.html) if args.html else None
    files.check_apart(
        {"--output": path, "--html": page},
        {"MODEL": args.model, "--dataset": args.dataset, "--source": args.source},
    )
    from keras_gce import datasets, evaluation, saving
    from keras_gce.attacks import Transfer
    from keras_gce.classifier import Classifier

    attacks = [_attack(name, args) for name in args.attacks]
    model = saving.load_model(args.model)
    dataset = datasets.load(args.dataset, data_dir=args.data_dir)
    num_classes = Classifier(model).num_classes
    if num_classes != dataset.num_classes:
        raise InputError(
            f"MODEL must have {dataset.num_classes} classes, as {args.dataset} has. "
            f"Received: {args.model} with {num_classes}"
        )
    if args.source:
        source = saving.load_model(args.source)
        attacks.append(Transfer(source=source, attack=_pgd(args)))
    test = dataset.test.take(min(args.examples, len(dataset.test)))
    report = evaluation.evaluate(
        model,
        test,
        attacks,
        threat_model=args.threat_model,
        batch_size=args.batch_size,
        checkpoint=args.checkpoint,
        bounds=args.bounds,
    )
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
    print(report.to_markdown())
    if page and args.eps:
        curves = evaluation.accuracy_curves(
            model,
            test.take(min(CURVE_EXAMPLES, len(test))),
            [args.eps * share for share in CURVE_RADII],
            attack=_pgd(args, seed=0),
            batch_size=args.batch_size,
        )
        report = dataclasses.replace(report, curves=curves)
    for file, text in ((path, report.to_json), (page, report.to_html)):
        if file:
            files.write_text(file, text())
            print(f"report written to {file}")


def _attack(name: str, args: argparse.Namespace) -> "Attack":
    from keras_gce import attacks
    from keras_gce.evaluation.cleverhans import CleverHansAttack

    if args.engine == "cleverhans" and name in names.CLEVERHANS_ATTACKS:
        return CleverHansAttack(name, eps=args.eps, norm=args.norm)
    attack = getattr(attacks, names.ATTACKS[name])
    if name in names.EPS_FREE_ATTACKS:
        return attack()
    return attack(eps=args.eps, norm=args.norm)


def _pgd(args: argparse.Namespace, seed: int | None = None) -> "PGD":
    from keras_gce.attacks import PGD

    return PGD(
        eps=args.eps,
        norm=args.norm,
        bounds=args.bounds,
        step_size=args.eps / 16,
        seed=seed,
    )

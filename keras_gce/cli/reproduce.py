"""`keras-gce reproduce`."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_gce import names
from keras_gce.cli import options, workers
from keras_gce.errors import InputError

if TYPE_CHECKING:  # It brings Keras.
    from keras_gce.recipes.reproduction import Reproduction

__all__ = ["add", "run"]


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands,
        "reproduce",
        run,
        "re-run a table or a figure of the paper, or an experiment; it resumes",
    )
    parser.add_argument(
        "what",
        choices=(*names.TABLES, *names.FIGURES, *names.EXPERIMENTS),
        help="the table, or the figure: features of models (1, 4), losses (2, 3); "
        "outer_loss: whether GCE outside adversarial training helps",
    )
    parser.add_argument(
        "--dataset",
        choices=names.DATASETS,
        help="data, for all but figures 2 and 3; cifar100 and tiny_imagenet have "
        "tables 2 and 4 and the figures alone",
    )
    options.add_data_dir(parser)
    options.add_length(parser)
    parser.add_argument(
        "--attacks",
        type=options.names_among(names.PAPER_ATTACKS),
        help="those of the table's attacks that are run, separated by commas: "
        f"{', '.join(names.PAPER_ATTACKS)}; without it all",
    )
    parser.add_argument(
        "--seeds",
        type=options.count,
        help="number of seeds; without it 2, 3 for table2, 5 for outer_loss, and 1 for "
        "figures",
    )
    parser.add_argument(
        "--seed",
        type=options.seed,
        help="the one seed that is run, so that seeds can be spread over machines",
    )
    parser.add_argument(
        "--examples",
        type=options.count,
        help="test images, the first ones; without it 1000, 500 for outer_loss "
        "(table2 has all)",
    )
    parser.add_argument(
        "--train-images",
        type=options.count,
        help="training images of outer_loss, the first ones; without it all",
    )
    parser.add_argument(
        "--engine",
        choices=names.ENGINES,
        help="whose attacks; without it CleverHans's under TensorFlow, ours elsewhere",
    )
    options.add_dtype_policy(parser)
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL.keras",
        help="models that exist, one for each loss of the table or the figure (some "
        "may be missing), in any order, in place of training; their losses are "
        "checked, and a JSON file beside a model says where it comes from",
    )
    workers.add_workers(parser, "models are trained and attacked")
    parser.add_argument(
        "--output",
        help="folder; without it keras_gce_output/DATASET, or keras_gce_output/figures",
    )


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    from keras_gce import files

    _check(args)
    workers.check_workers(args)
    output = args.output or f"keras_gce_output/{args.dataset or 'figures'}"
    files.output_folder(output)
    print(_reproduction(args, output).to_markdown())
    made = "Models, reports and this table"
    if args.what not in names.TABLES:
        made = "The figure, its numbers and any models"
    print(f"{made} are in {output}")


def _reproduction(args: argparse.Namespace, output: str) -> "Reproduction":
    from keras_gce import recipes

    settings = {
        "epochs": args.epochs,
        "model": args.model,
        "data_dir": args.data_dir,
        "models": args.models,
        "workers": args.workers,
        "address": args.address,
        "seed": args.seed,
    }
    if args.what in names.FIGURES:
        return recipes.reproduce_figure(
            args.what,
            args.dataset,
            output,
            seeds=args.seeds or 1,
            examples=args.examples or 1000,
            **settings,
        )
    settings["dtype_policy"] = args.dtype_policy
    if args.what in names.EXPERIMENTS:
        del settings["models"]
        return recipes.reproduce_outer_loss(
            args.dataset,
            output,
            seeds=args.seeds or 5,
            examples=args.examples or 500,
            train_images=args.train_images,
            **settings,
        )
    if args.what == "table2":
        return recipes.reproduce_table2(
            args.dataset, output, seeds=args.seeds or 3, **settings
        )
    return recipes.reproduce(
        args.what,
        args.dataset,
        output,
        seeds=args.seeds or 2,
        examples=args.examples or 1000,
        engine=args.engine or _default_engine(),
        attacks=args.attacks,
        **settings,
    )


def _check(args: argparse.Namespace) -> None:
    """Refuses options that mean nothing for the table or the figure."""
    of_losses = args.what in ("figure2", "figure3")
    if not of_losses and args.dataset is None:
        raise InputError(f"`--dataset` must be given. Received: {args.what} without it")
    unused: tuple[str, ...] = ()
    reason = ""
    if args.what in names.EXPERIMENTS:
        unused = ("attacks", "engine", "models")
        reason = "it trains its own, and has AutoAttack and PGD, ours"
    elif args.what == "table2":
        unused, reason = ("attacks",), "it is of natural images"
    elif of_losses:
        unused = ("dataset", "data_dir", "epochs", "seeds", "seed", "examples")
        unused = (
            *unused,
            "model",
            "attacks",
            "engine",
            "dtype_policy",
            "models",
            "workers",
            "address",
        )
        reason = "it is of losses alone"
    elif args.what in names.FIGURES:
        unused = ("attacks", "engine", "dtype_policy")
        reason = "it is of float32 models that are not attacked"
    _refuse(args, unused, f"{args.what} has none, {reason}")
    if args.what not in names.EXPERIMENTS:
        _refuse(args, ("train_images",), f"{args.what} is of all training images")
    if None not in (args.seed, args.seeds):
        raise InputError(
            "`--seed` must be given without --seeds. "
            f"Received: --seed {args.seed}, --seeds {args.seeds}"
        )
    if args.models is not None:
        trained = ("epochs", "seeds", "seed", "model", "dtype_policy")
        _refuse(args, trained, "with `--models` nothing is trained")


def _refuse(args: argparse.Namespace, unused: Sequence[str], reason: str) -> None:
    for name in unused:
        value = getattr(args, name)
        if value is not None:
            shown = ",".join(value) if isinstance(value, (list, tuple)) else value
            raise InputError(f"`{args.options[name]}`: {reason}. Received: {shown}")


def _default_engine() -> str:
    import keras

    return "cleverhans" if keras.backend.backend() == "tensorflow" else "keras_gce"

"""`keras-gce demo`."""

import argparse

from keras_gce.cli import options

__all__ = ["add", "run"]


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands,
        "demo",
        run,
        "train with cross-entropy and with GCE on digits, and attack both",
    )
    parser.add_argument(
        "--output",
        default="keras_gce_output/demo",
        help="folder for models and reports; the demo resumes there",
    )


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    from keras_gce import recipes

    table = recipes.reproduce(
        "table3",
        "digits",
        args.output,
        seeds=1,
        engine="keras_gce",
        attacks=["fgsm", "bim", "pgd", "mim"],
    )
    print(table.to_markdown())
    print(
        "An attack through GCE itself is a weak one: quote the adaptive column.\n"
        f"Models, reports and this table are in {args.output}"
    )

"""`keras-gce compare`."""

import argparse

from keras_gce.cli import options
from keras_gce.cli.report import read
from keras_gce.cli.wording import in_options

__all__ = ["add", "run"]


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands,
        "compare",
        run,
        "two reports on the same images side by side, with McNemar's test",
    )
    parser.add_argument("a", metavar="A.json", help="a report")
    parser.add_argument("b", metavar="B.json", help="another")


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    a, b = read(args.a), read(args.b)
    from keras_gce.evaluation import compare

    with in_options(report_a="A.json", report_b="B.json"):
        compared = compare(a, b)
    print(compared.to_markdown(), end="")

"""`keras-gce merge`."""

import argparse

from keras_gce.cli import options, views
from keras_gce.cli.report import read
from keras_gce.cli.wording import in_options

__all__ = ["add", "run"]

WRITTEN = ("--output", "--html")


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands, "merge", run, "make one report of those of all parts of a test set"
    )
    parser.add_argument(
        "parts", metavar="PART.json", nargs="+", help="what evaluate --part wrote"
    )
    parser.add_argument(
        "--output", metavar="WHOLE.json", required=True, help="the report to write"
    )
    parser.add_argument("--html", metavar="FILE", help="a page with charts to write")
    options.add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    paths = views.outputs(
        args, views.kinds(*WRITTEN), {path: path for path in args.parts}
    )
    parts = [read(path) for path in args.parts]
    from keras_gce.evaluation import merge

    with in_options(reports="PART.json"):
        whole = merge(parts)
    try:
        views.write(paths, whole, *WRITTEN)
    finally:
        print(whole.to_markdown())
    for path in paths.values():
        print(f"report written to {path}")

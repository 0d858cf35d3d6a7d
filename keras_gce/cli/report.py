"""`keras-gce report`."""

import argparse
import pathlib
from typing import TYPE_CHECKING

from keras_gce.cli import options, views
from keras_gce.errors import InputError

if TYPE_CHECKING:  # It brings Keras.
    from keras_gce.evaluation import RobustnessReport

__all__ = ["add", "read", "run"]

WRITTEN = ("--html", "--csv", "--latex", "--markdown")


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands,
        "report",
        run,
        "show a report again: as text, or as files of other kinds",
    )
    parser.add_argument("report", metavar="REPORT.json", help="what evaluate wrote")
    parser.add_argument("--html", metavar="FILE", help="a page with charts to write")
    parser.add_argument("--csv", metavar="FILE", help="a row for each attack")
    parser.add_argument("--latex", metavar="FILE", help="a table for a paper")
    parser.add_argument("--markdown", metavar="FILE", help="the text that is printed")
    options.add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    paths = views.outputs(args, views.kinds(*WRITTEN), {"REPORT": args.report})
    report = read(args.report)
    if not paths:
        print(report.to_markdown(), end="")
    views.write(paths, report, *WRITTEN)
    for path in paths.values():
        print(f"report written to {path}")


def read(path: str) -> "RobustnessReport":
    """Reads a report.

    Raises:
        InputError: If there is no such file, or it holds no report.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(
            f"REPORT must be the JSON file of a report. Received: {path} ({reason})"
        ) from error
    from keras_gce.evaluation import RobustnessReport

    try:
        return RobustnessReport.from_json(text)
    except InputError as error:
        raise InputError(
            "REPORT must be the JSON file of a report. "
            f"Received: {path}, which is {str(error).split('Received: ')[-1]}"
        ) from error

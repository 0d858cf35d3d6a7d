"""The files that commands write of a report: found writable first, written last."""

import argparse
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from keras_gce import files
from keras_gce.errors import check_installed
from keras_gce.files import PathLike

if TYPE_CHECKING:  # It brings Keras.
    from keras_gce.evaluation import RobustnessReport

__all__ = ["KINDS", "outputs", "write"]

# The option -> the kind of file, and what of a report is in it.
KINDS: dict[str, tuple[str, "Callable[[RobustnessReport], str]"]] = {
    "--output": ("report", lambda report: report.to_json()),
    "--html": ("HTML report", lambda report: report.to_html()),
    "--csv": ("CSV report", lambda report: report.to_csv()),
    "--latex": ("LaTeX report", lambda report: report.to_latex()),
    "--markdown": ("Markdown report", lambda report: report.to_markdown()),
}


def outputs(
    args: argparse.Namespace,
    kinds: Mapping[str, str],
    inputs: Mapping[str, PathLike | None],
) -> dict[str, pathlib.Path]:
    """Returns the files that a command will write, by the option of each.

    Args:
        args: The parsed arguments.
        kinds: Dict of the option -> the kind of its file, of `files.KINDS`.
        inputs: Dict of what is read -> its path, or `None`.

    Raises:
        InputError: If one can't be written, must not be replaced, is an input or
            another output, or needs a package that is not installed.
    """
    given: dict[str, str] = {}
    for option in kinds:
        path = getattr(args, option.lstrip("-").replace("-", "_"))
        if path is not None:
            given[option] = path
    files.check_apart(given, inputs)
    if "--html" in given:
        check_installed("`--html`", "report", "jinja2", "PIL")
    return {
        option: files.output_file(path, kinds[option], option, args.overwrite)
        for option, path in given.items()
    }


def write(
    paths: Mapping[str, pathlib.Path], report: "RobustnessReport", *options: str
) -> None:
    """Writes those views of a report that have a file."""
    for option in options:
        if option in paths:
            text = KINDS[option][1](report)
            write_text = functools.partial(files.write_text, text=text)
            files.write_or_rescue(paths[option], write_text)

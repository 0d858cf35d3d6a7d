"""The files that commands write of a report: found writable first, written last."""

import argparse
import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from keras_gce import files, names
from keras_gce.errors import check_installed
from keras_gce.files import PathLike

if TYPE_CHECKING:  # It brings Keras.
    from keras_gce.evaluation import RobustnessReport

__all__ = ["KINDS", "inputs", "outputs", "write"]

# The option -> the kind of file, and what of a report is in it.
KINDS: dict[str, tuple[str, "Callable[[RobustnessReport], str]"]] = {
    "--output": ("report", lambda report: report.to_json()),
    "--html": ("HTML report", lambda report: report.to_html()),
    "--csv": ("CSV report", lambda report: report.to_csv()),
    "--latex": ("LaTeX report", lambda report: report.to_latex()),
    "--markdown": ("Markdown report", lambda report: report.to_markdown()),
}


def inputs(
    args: argparse.Namespace, **others: PathLike | None
) -> dict[str, PathLike | None]:
    """Returns what a command reads, or keeps its work in, by its name.

    Args:
        args: The parsed arguments, with a dataset.
        **others: More of it.
    """
    known = args.dataset in names.DATASETS
    found: dict[str, PathLike | None] = {
        "--dataset": None if known else args.dataset,
        "--checkpoint": args.checkpoint,
        **others,
    }
    folder = args.data_dir or os.environ.get("TFDS_DATA_DIR")
    if known and folder:
        found["--data-dir"] = os.path.join(folder, f"{args.dataset}.npz")
    return found


def outputs(
    args: argparse.Namespace,
    kinds: Mapping[str, str],
    read: Mapping[str, PathLike | None],
) -> dict[str, pathlib.Path]:
    """Returns the files that a command will write, by the option of each.

    Args:
        args: The parsed arguments.
        kinds: Dict of the option -> the kind of its file, of `files.KINDS`.
        read: Dict of what is read -> its path, or `None`; see `inputs`.

    Raises:
        InputError: If one can't be written, must not be replaced, is an input or
            another output, or needs a package that is not installed.
    """
    given: dict[str, str] = {}
    for option in kinds:
        path = getattr(args, option.lstrip("-").replace("-", "_"))
        if path is not None:
            given[option] = path
    files.check_apart(given, read)
    if "--html" in given:
        check_installed("`--html`", "report", "jinja2", "PIL")
    return {
        option: files.output_file(path, kinds[option], option, args.overwrite)
        for option, path in given.items()
    }


def write(
    paths: Mapping[str, pathlib.Path], report: "RobustnessReport", *options: str
) -> None:
    """Writes what of a report has a file: each of it, also where another fails.

    Raises:
        OSError: The first that was met.
    """
    failed = []
    for option in options:
        if option in paths:
            try:
                files.write_or_rescue(paths[option], _writer(option, report))
            except OSError as error:
                failed.append(error)
    if failed:
        raise failed[0]


def _writer(option: str, report: "RobustnessReport") -> "Callable[[PathLike], None]":
    if option == "--save-adversarial":
        kept = report.adversarial
        return lambda path: None if kept is None else kept.save(path)
    return functools.partial(files.write_text, text=KINDS[option][1](report))

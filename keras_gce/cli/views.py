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

__all__ = ["inputs", "kinds", "outputs", "write"]


def _save_adversarial(report: "RobustnessReport", path: PathLike) -> None:
    if report.adversarial is not None:
        report.adversarial.save(path)


# The option -> the kind of its file, and what writes that of a report.
VIEWS: dict[str, tuple[str, "Callable[[RobustnessReport, PathLike], None]"]] = {
    "--output": ("report", lambda r, path: files.write_text(path, r.to_json())),
    "--html": ("HTML report", lambda r, path: files.write_text(path, r.to_html())),
    "--csv": ("CSV report", lambda r, path: files.write_text(path, r.to_csv())),
    "--latex": ("LaTeX report", lambda r, path: files.write_text(path, r.to_latex())),
    "--markdown": (
        "Markdown report",
        lambda r, path: files.write_text(path, r.to_markdown()),
    ),
    "--save-adversarial": ("file of adversarial examples", _save_adversarial),
}


def kinds(*options: str) -> dict[str, str]:
    """Returns the kinds of files of some options, for `outputs`."""
    return {option: VIEWS[option][0] for option in options}


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
                write_one = functools.partial(VIEWS[option][1], report)
                files.write_or_rescue(paths[option], write_one)
            except OSError as error:
                failed.append(error)
    if failed:
        raise failed[0]

"""What a name that is no dataset may have been meant to be."""

import difflib
import os
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from keras_gce.errors import InputError
from keras_gce.names import DATASETS

__all__ = ["beside", "refuse"]

# How alike a name and the one that was meant are, at least, for difflib.
ALIKE = 0.75


def refuse(name: Any) -> NoReturn:
    """Raises the error for a name of no dataset, file or folder.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f"`name` must be one of {', '.join(DATASETS)}, or the path of an .npz file or "
        "of a folder with one subfolder of images a class. "
        f"Received: name={name!r}{_hint(name)}"
    )


def _hint(name: Any) -> str:
    if not isinstance(name, (str, os.PathLike)) or not isinstance(os.fspath(name), str):
        return ""
    text = os.fspath(name)
    if os.path.isfile(text):
        return (
            ", a file of another kind; numpy.savez_compressed writes arrays x_test and "
            "y_test as an .npz"
        )
    meant = _closest(text, DATASETS) or beside(text)
    if meant:
        return f"; did you mean {meant}?"
    return ", where there is no file or folder" if _is_path(text) else ""


def _closest(text: str, known: Iterable[str]) -> str | None:
    """Returns the known name that differs in a slip, capitals or dashes, or `None`."""
    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(text), plain, n=1, cutoff=ALIKE)
    return plain[found[0]] if found else None


def _plain(text: str) -> str:
    return re.sub(r"[^\w/.]|_", "", text.lower())


def beside(text: str) -> str | None:
    """Returns the path that is there and was meant, or `None`."""
    folder, file = os.path.split(text.rstrip(os.sep))
    try:
        there = os.listdir(folder or os.curdir)
    except OSError:
        return None
    able = [n for n in there if n.endswith(".npz") or os.path.isdir(_join(folder, n))]
    # As it is, but for the end: `data` where `data.npz` is there.
    same = [n for n in able if n.removesuffix(".npz") == os.path.splitext(file)[0]]
    meant = same[0] if same else _closest(file, able)
    return meant and _join(folder, meant)


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name)


def _is_path(text: str) -> bool:
    return os.sep in text or bool(os.path.splitext(text)[1])

"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from keras_gce.errors import InputError

__all__ = [
    "KINDS",
    "PathLike",
    "check_apart",
    "claim",
    "output_file",
    "output_folder",
    "replacing",
    "work_folder",
    "write_bytes",
    "write_or_rescue",
    "write_text",
]

PathLike: TypeAlias = str | os.PathLike[str]

# What a folder for outputs has to have room for at once, in bytes: a small model's.
ROOM = 2**20
# Of a file's name, what its temporary one has: all of it may be as long as can be.
NAME = 60
# What is written here -> by what it is known: how it begins, or what its archive holds.
KINDS: dict[str, bytes | tuple[str, ...]] = {
    "report": rb'\A\{\s*"schema_version": \d+,\s*"model": ',
    "HTML report": rb'<meta name="generator" content="keras_gce '
    rb"|default-src 'none'[^\0]*<title>Robustness of ",
    "CSV report": rb"\Aattack,ensemble,engine,loss,eps,norm,n_examples,clean_accuracy,",
    "LaTeX report": rb"\A% keras_gce",
    "Markdown report": rb"\A[^\n]*: clean accuracy [^\n]*Threat model: ",
    "Keras model": ("config.json", "metadata.json"),
    "file of adversarial examples": ("x_adv.npy", "attack.npy"),
}


def output_folder(
    path: PathLike, name: str = "output", what: str = "a folder"
) -> pathlib.Path:
    """Returns the folder as a `Path`, made where it is missing, and writable.

    Args:
        path: Path of the folder.
        name: The argument that it is, for the error. Defaults to `"output"`.
        what: What that argument is to be. Defaults to `"a folder"`.

    Raises:
        InputError: If it can't be made or written, or has no room left.
    """
    try:
        path = pathlib.Path(path)
    except TypeError as error:
        raise InputError(
            f"`{name}` must be the path of a folder. Received: {path!r}"
        ) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        # A full disk takes an empty file, but nothing in it.
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        raise InputError(
            f"`{name}` must be {what} that can be written. "
            f"Received: {path} ({error.strerror})"
        ) from error
    return path


def work_folder(path: PathLike, meta: str, name: str = "output") -> pathlib.Path:
    """Returns a folder for unfinished work: a new one, an empty one, or its own.

    Args:
        path: Path of the folder; made where it is missing.
        meta: Name of the file that work of this kind leaves in its folder.
        name: The argument that it is, for the error. Defaults to `"output"`.

    Raises:
        InputError: If it can't be written, or holds something else.
    """
    folder = output_folder(path, name)
    if not (folder / meta).exists():
        # What is hidden may be another worker's, on the way, or a file manager's.
        others = sorted(p.name for p in folder.iterdir() if p.name[0] != ".")
        if others:
            raise InputError(
                f"`{name}` must be a new or an empty folder, or one of the same work "
                f"before. Received: {folder}, which has {others[0]} and no {meta}"
            )
    return folder


def claim(
    folder: PathLike, name: str, settings: dict[str, Any], argument: str = "output"
) -> pathlib.Path:
    """Writes down the settings of the work that is kept in a folder.

    Args:
        folder: Path of the folder; made where it is missing.
        name: Name of the file in it for the settings.
        settings: Dict of what JSON can hold.
        argument: What the folder was given as, for the error. Defaults to `"output"`.

    Returns:
        The folder as a `Path`.

    Raises:
        InputError: If it can't be written, holds something else, or is that of other
            settings.
    """
    folder = work_folder(folder, name, argument)
    settings = json.loads(json.dumps(settings))
    path = folder / name
    if not path.exists():
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return folder
    found = json.loads(path.read_text())
    for key in [*settings, *found]:
        if found.get(key) != settings.get(key):
            raise InputError(
                "The output folder must be a new one, or one of the same settings. "
                f"Received: {folder}, where {name} has other settings: "
                f"{key}={found.get(key)!r} rather than {settings.get(key)!r}"
            )
    return folder


def output_file(
    path: PathLike, kind: str, name: str = "output", overwrite: bool = False
) -> pathlib.Path:
    """Returns the file to write, in a folder that exists now and is writable.

    Args:
        path: Path of the file; a link's target is what is written.
        kind: What is to be written, one of `KINDS`: an older file of the same kind may
            be replaced.
        name: The argument that it is, for the error. Defaults to `"output"`.
        overwrite: Whether it may be any regular file. Defaults to `False`.

    Raises:
        InputError: If it can't be written, or is what must not be replaced.
    """
    given, path = path, pathlib.Path(os.path.realpath(path))
    if os.fspath(given) in ("", "-"):
        raise InputError(f"`{name}` must be a file. Received: {os.fspath(given)!r}")
    # Where /dev/stdout leads to is a file at times, and open elsewhere.
    device = pathlib.Path(os.path.abspath(given)).parts[1:2] in (("dev",), ("proc",))
    try:
        is_folder, is_there = path.is_dir(), path.exists()
        is_ours = not is_there or overwrite or _is_of_kind(path, kind)
    except OSError as error:
        raise InputError(
            f"`{name}` must be a file that can be written. "
            f"Received: {given} ({error.strerror})"
        ) from error
    if is_folder:
        raise InputError(f"`{name}` must be a file. Received: {given}, a folder")
    if device or (is_there and not path.is_file()):
        raise InputError(
            f"`{name}` must be a regular file. Received: {given}, a device or a pipe"
        )
    if not is_ours:
        raise InputError(
            f"`{name}` must be a new file, or an older {kind} to replace. Received: "
            f"{given}, which is something else; --overwrite replaces it all the same"
        )
    output_folder(path.parent, name, "a file in a folder")
    return path


def _is_of_kind(path: pathlib.Path, kind: str) -> bool:
    """Whether a file is empty, or what was written here before as that kind."""
    if not path.is_file() or not path.stat().st_size:
        return True
    known = KINDS[kind]
    if isinstance(known, bytes):
        with open(path, "rb") as file:
            return re.search(known, file.read(4096)) is not None
    try:
        with zipfile.ZipFile(path) as archive:
            return set(known) <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False


def check_apart(
    outputs: Mapping[str, PathLike | None], inputs: Mapping[str, PathLike | None]
) -> None:
    """Refuses outputs that would take the place of an input, or of each other.

    Args:
        outputs: Dict of the option's name -> its path, or `None`.
        inputs: Dict of the same.

    Raises:
        InputError: If two of them are the same file, or one lies in a folder that is
            read.
    """
    taken = {name: path for name, path in inputs.items() if path is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        for other, one in taken.items():
            if _are_same(path, one):
                raise InputError(
                    f"`{name}` must be a file of its own. Received: {path}, which is "
                    f"that of {other}"
                )
            if other in inputs and not os.path.isfile(one) and _is_inside(path, one):
                raise InputError(
                    f"`{name}` must lie outside of what is read. Received: {path}, "
                    f"in the folder of {other}"
                )
        taken[name] = path


def _is_inside(path: PathLike, folder: PathLike) -> bool:
    inner, outer = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([inner, outer]) == outer


def _are_same(a: PathLike, b: PathLike) -> bool:
    if os.path.exists(a) and os.path.exists(b):
        return os.path.samefile(a, b)  # By two names, or in two cases of letters.
    return os.path.realpath(a) == os.path.realpath(b)


def write_or_rescue(path: PathLike, write: Callable[[PathLike], None]) -> None:
    """Writes a result, or, where a disk has filled up meanwhile, rescues it.

    Args:
        path: Path of the file.
        write: Function of a path that writes it.

    Raises:
        OSError: If it can't be written; it says where the result is then.
    """
    try:
        write(path)
    except OSError as error:
        other = pathlib.Path(tempfile.mkdtemp(prefix="keras_gce-"))
        other /= pathlib.Path(path).name
        try:
            write(other)
        except OSError:  # There is no room anywhere.
            other.parent.rmdir()
            raise error from None
        raise OSError(
            f"{path} can not be written any more ({error.strerror or error}); what was "
            f"to be in it is in {other}"
        ) from error


def write_text(path: PathLike, text: str) -> None:
    """Writes a text file in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, which takes its place at the end."""
    path = pathlib.Path(path)
    # The suffixes stay, since Keras decides the format by them. Machines that share a
    # folder may write a file at once, under one process id.
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name[-NAME:]}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from keras_gce.errors import InputError

__all__ = [
    "PathLike",
    "check_apart",
    "claim",
    "output_file",
    "output_folder",
    "replacing",
    "write_bytes",
    "write_text",
]

PathLike: TypeAlias = str | os.PathLike[str]


def output_folder(path: PathLike) -> pathlib.Path:
    """Returns the folder as a `Path`, made where it is missing, and writable.

    Raises:
        InputError: If it can't be made or written.
    """
    try:
        path = pathlib.Path(path)
    except TypeError as error:
        raise InputError(
            f"`output` must be the path of a folder. Received: {path!r}"
        ) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            "`output` must be a folder that can be written. "
            f"Received: {path} ({error.strerror})"
        ) from error
    return path


def claim(folder: PathLike, name: str, settings: dict[str, Any]) -> pathlib.Path:
    """Writes down the settings of the work that is kept in a folder.

    Args:
        folder: Path of the folder; made where it is missing.
        name: Name of the file in it for the settings.
        settings: Dict of what JSON can hold.

    Returns:
        The folder as a `Path`.

    Raises:
        InputError: If it can't be written, or is that of other settings.
    """
    folder = output_folder(folder)
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


def output_file(path: PathLike) -> pathlib.Path:
    """Returns the file as a `Path`, in a folder that exists now and is writable.

    Raises:
        InputError: If it can't be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"`output` must be a file. Received: {path}, a folder")
    output_folder(path.parent)
    return path


def check_apart(
    outputs: Mapping[str, PathLike | None], inputs: Mapping[str, PathLike | None]
) -> None:
    """Refuses outputs that would take the place of an input, or of each other.

    Args:
        outputs: Dict of the option's name -> its path, or `None`.
        inputs: Dict of the same.

    Raises:
        InputError: If two of them are the same file.
    """
    taken = {n: os.path.realpath(p) for n, p in inputs.items() if p is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        for other, one in taken.items():
            if real == one:
                raise InputError(
                    f"`{name}` must be a file of its own. Received: {path}, which is "
                    f"that of {other}"
                )
        taken[name] = real


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
    # The suffixes stay, since Keras decides the format by them.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

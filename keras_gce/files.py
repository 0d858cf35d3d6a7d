"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile

from keras_gce.errors import InputError

__all__ = [
    "claim",
    "load_model",
    "load_weights",
    "output_file",
    "output_folder",
    "save_model",
    "save_weights",
    "write_bytes",
    "write_text",
]


def output_folder(path):
    """Returns the folder as a `Path`, made where it is missing, and writable.

    Raises:
        InputError: If it can't be made or written.
    """
    path = pathlib.Path(path)
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


def claim(folder, name, settings):
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


def output_file(path):
    """Returns the file as a `Path`, in a folder that exists now and is writable.

    Raises:
        InputError: If it can't be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"`output` must be a file. Received: {path}, a folder")
    output_folder(path.parent)
    return path


def write_text(path, text):
    """Writes a text file in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path, data):
    """Writes a file."""
    with _replacing(path) as temporary:
        temporary.write_bytes(data)


def save_model(model, path):
    """Saves a Keras model as `.keras`."""
    with _replacing(path) as temporary:
        model.save(temporary)


def load_model(path):
    """Loads a Keras model.

    Raises:
        InputError: If there is no file, or it is no Keras model.
    """
    import keras

    # Registers the losses, with which models here are compiled.
    import keras_gce.losses  # noqa: F401

    if not os.path.isfile(path):
        raise InputError(f"MODEL must be a .keras file. Received: {path}, no file")
    try:
        return keras.models.load_model(path)
    except Exception as error:  # Zip, JSON, HDF5 and Keras each have their own.
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise InputError(
            f"MODEL must be a Keras model that loads here. Received: {path} "
            f"({type(error).__name__}: {first_line[:200]})"
        ) from error


def save_weights(model, path):
    """Saves the weights of a Keras model, and of its optimizer, as `.weights.h5`."""
    with _replacing(path) as temporary:
        model.save_weights(temporary)


def load_weights(model, path):
    """Loads what `save_weights` saved.

    Raises:
        InputError: If the file does not fit the model.
    """
    model.optimizer.build(model.trainable_variables)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"`checkpoint` must hold weights of this model. Received: {path} "
            f"({str(error).strip().splitlines()[0][:200]})"
        ) from error


@contextlib.contextmanager
def _replacing(path):
    """Yields a temporary path beside `path`, which takes its place at the end."""
    path = pathlib.Path(path)
    # The suffixes stay, since Keras decides the format by them.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

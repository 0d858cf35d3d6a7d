"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile
import zipfile

from keras_gce.errors import InputError

__all__ = [
    "check_apart",
    "claim",
    "epochs_of",
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


def check_apart(outputs, inputs):
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


def write_text(path, text):
    """Writes a text file in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path, data):
    """Writes a file."""
    with _replacing(path) as temporary:
        temporary.write_bytes(data)


def save_model(model, path, epochs=None):
    """Saves a Keras model as `.keras`.

    Args:
        model: The model.
        path: Path of the file.
        epochs: How many epochs it was trained, for `epochs_of`; in the same file, so
            that no kill parts the two. Defaults to `None`: not known.
    """
    with _replacing(path) as temporary:
        model.save(temporary)
        if epochs is not None:
            # The archive's comment, which Keras leaves alone.
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.comment = json.dumps({"epochs": epochs}).encode()


def epochs_of(path):
    """Returns how many epochs a saved model was trained; `None` where it isn't said."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment)["epochs"]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


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


def save_weights(model, path, epochs):
    """Saves what continues a training: weights, optimizers, and the finished epochs.

    Args:
        model: The compiled `keras.Model` that is trained: of a wrapper, the wrapper.
        path: Path of the file, `.weights.h5`.
        epochs: How many epochs are finished; in the same file, so that no kill parts
            it from the weights.
    """
    import h5py
    import keras

    with _replacing(path) as temporary:
        # Keras's own, since a wrapper's may be about the model inside it alone.
        keras.Model.save_weights(model, temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs["epochs"] = epochs


def load_weights(model, path):
    """Loads what `save_weights` saved.

    Returns:
        How many epochs are finished; `None` where the file doesn't say.

    Raises:
        InputError: If the file does not fit the model.
    """
    import h5py
    import keras

    model.optimizer.build(model.trainable_variables)
    try:
        with h5py.File(path) as file:
            epochs = file.attrs.get("epochs")
        keras.Model.load_weights(model, path)
        return None if epochs is None else int(epochs)
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

"""Models and weights: kept whole, and loaded with one kind of error."""

import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras

# Registers the losses, with which models here are compiled.
import keras_gce.losses  # noqa: F401
from keras_gce.errors import InputError, one_line
from keras_gce.files import PathLike, replacing

__all__ = [
    "epochs_of",
    "load_model",
    "load_weights",
    "save_model",
    "save_weights",
]


def save_model(model: keras.Model, path: PathLike, epochs: int | None = None) -> None:
    """Saves a Keras model as `.keras`.

    Args:
        model: The model.
        path: Path of the file.
        epochs: How many epochs it was trained, for `epochs_of`; in the same file, so
            that no kill parts the two. Defaults to `None`: not known.
    """
    with replacing(path) as temporary:
        model.save(temporary)
        if epochs is not None:
            # The archive's comment, which Keras leaves alone.
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.comment = json.dumps({"epochs": epochs}).encode()


def epochs_of(path: PathLike) -> int | None:
    """Returns how many epochs a saved model was trained; `None` where it isn't said."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment)["epochs"]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


def load_model(
    path: PathLike, imports: Sequence[PathLike] = (), trust: bool = False
) -> keras.Model:
    """Loads a Keras model.

    One that was compiled with a loss, a metric or an optimizer that can't be had is
    loaded without all three, and a warning says so.

    Args:
        path: Path of the file, `.keras`; an `.h5` of a whole model too.
        imports: Modules, by their names or as `.py` files, that are imported first.
            What they register with `keras.saving.register_keras_serializable` is then
            known, and so are, by their names, the classes and functions that they
            define and don't register. Defaults to none.
        trust: Whether the file may hold Python code, such as a `Lambda` layer's
            lambda, which runs: Keras's `safe_mode` is off. Only for a file whose
            origin you trust. Defaults to `False`.

    Returns:
        A `keras.Model`.

    Raises:
        InputError: If there is no file, it is no Keras model, or it needs what
            `imports` and `trust` don't give.
    """
    path = os.fspath(path)
    _check_kind(path)
    options: dict[str, Any] = {
        "custom_objects": _objects_of(imports),
        "safe_mode": not trust,
    }
    try:
        return keras.models.load_model(path, **options)
    except Exception as error:  # Zip, JSON, HDF5 and Keras each have their own.
        failure = error
    try:
        model = keras.models.load_model(path, **options, compile=False)
    except Exception:  # What fails without the loss too is about the model.
        raise InputError(
            f"MODEL must be a Keras model that loads here. Received: {path} "
            f"({_reason(failure)})"
        ) from failure
    warnings.warn(
        f"{path} was loaded uncompiled, so that there is no training loss: "
        f"{_reason(failure)}",
        stacklevel=2,
    )
    return model


def _check_kind(path: str) -> None:
    """Refuses what is no file of Keras's, and says what it seems to be."""
    received = None
    if os.path.isdir(path):
        received = "a folder"
        if os.path.exists(os.path.join(path, "saved_model.pb")):
            received = (
                "a SavedModel of TensorFlow, which Keras 3 does not load as a model; "
                "save it as .keras where it was made"
            )
    elif not os.path.isfile(path):
        received = "no file"
    elif not os.access(path, os.R_OK):
        received = "which may not be read"
    elif path.endswith(".weights.h5"):
        received = (
            "weights alone; build the model, load them into it, and save it as .keras"
        )
    elif not path.endswith((".keras", ".h5", ".hdf5")):
        received = "a file of another kind"
        if zipfile.is_zipfile(path):
            received += "; if Keras wrote it, rename it so that it ends in .keras"
    elif path.endswith(".keras") and not zipfile.is_zipfile(path):
        received = "no archive of Keras: cut off, or another kind of file by that name"
    if received:
        raise InputError(
            f"MODEL must be a .keras file that loads here. Received: {path}, {received}"
        )


def _objects_of(imports: Sequence[PathLike]) -> dict[str, Any]:
    """Imports modules, and returns what they define by name: classes and functions."""
    found: dict[str, Any] = {}
    for given in imports:
        module = _imported(os.fspath(given))
        for name, value in vars(module).items():
            if inspect.isclass(value) or inspect.isfunction(value):
                # Not what it has from elsewhere: a file names what is called.
                package, _, _ = value.__module__.partition(".")
                if package == module.__name__.partition(".")[0]:
                    found[name] = value
    return found


def _imported(given: str) -> ModuleType:
    file = os.path.abspath(given) if given.endswith(".py") else None
    # What a script has: its own folder; else the current one.
    folder = os.path.dirname(file) if file else os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return _module_of(file) if file else importlib.import_module(given)
    except (Exception, SystemExit) as error:  # Whatever it raises.
        raise InputError(
            "`imports` must be modules or .py files that can be imported. "
            f"Received: {given} ({one_line(error)})"
        ) from error
    finally:
        sys.path.remove(folder)


def _module_of(file: str) -> ModuleType:
    # By its path: layers.py must not take the place of another module `layers`. A dot
    # would make it one of a package.
    name = os.path.splitext(file)[0].replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: Exception) -> str:
    """Returns what was wrong in one line, without configurations, and the cure."""
    # Keras wraps each error of a layer in those of what it is in, with their settings.
    text = " ".join(str(error).split()).split("Exception encountered: ")[-1]
    text = text.split(" Full object config: ")[0].rstrip(".")[:600]
    unknown = re.search(r"(?:locate|Unknown) \w+:? '([^']+)'", text)
    if unknown:
        text += f". Give `imports` the module that has {unknown[1]}"
    elif "safe_mode=False" in text:
        text += (
            ". `trust` loads it, and runs the code in the file: only where you trust "
            "its origin"
        )
    elif "No model config found" in text:
        text += ": these are weights alone; save the whole model as .keras"
    return f"{type(error).__name__}: {text}"


def save_weights(
    model: keras.Model, path: PathLike, epochs: int, steps: int = 0
) -> None:
    """Saves what continues a training: weights, optimizers, and how far it is.

    Args:
        model: The compiled `keras.Model` that is trained: of a wrapper, the wrapper.
        path: Path of the file, `.weights.h5`.
        epochs: How many epochs are finished; in the same file, so that no kill parts
            it from the weights.
        steps: How many steps of the next one are. Defaults to 0.
    """
    import h5py

    with replacing(path) as temporary:
        # Keras's own, since a wrapper's may be about the model inside it alone.
        keras.Model.save_weights(model, temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs["epochs"], file.attrs["steps"] = epochs, steps


def load_weights(model: keras.Model, path: PathLike) -> tuple[int | None, int]:
    """Loads what `save_weights` saved.

    Returns:
        How many epochs are finished, `None` where the file doesn't say, and how many
        steps of the next one.

    Raises:
        InputError: If the file does not fit the model.
    """
    import h5py

    model.optimizer.build(model.trainable_variables)
    try:
        with h5py.File(path) as file:
            epochs, steps = (file.attrs.get(name) for name in ("epochs", "steps"))
        keras.Model.load_weights(model, path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"`checkpoint` must hold weights of this model. Received: {path} "
            f"({str(error).strip().splitlines()[0][:200]})"
        ) from error
    return None if epochs is None else int(epochs), int(steps or 0)

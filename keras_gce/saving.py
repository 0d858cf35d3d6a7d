"""Models and weights: kept whole, and loaded with one kind of error."""

import json
import os
import zipfile

import keras

# Registers the losses, with which models here are compiled.
import keras_gce.losses  # noqa: F401
from keras_gce.errors import InputError
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


def load_model(path: PathLike) -> keras.Model:
    """Loads a Keras model.

    Raises:
        InputError: If there is no file, or it is no Keras model.
    """
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

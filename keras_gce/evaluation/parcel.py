"""Models and attacks as bytes, of which another process makes the same."""

import io
import os
import pickle
import tempfile
import types
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError, one_line
from keras_gce.evaluation.plan import Plan
from keras_gce.workers import code_of_own, pickler

__all__ = ["pack", "unpack"]


def pack(classifier: Classifier, plan: Plan) -> bytes:
    """Packs a model and what is run on it, with the code that is the user's own.

    Raises:
        InputError: If Keras can't save the model, or something can't be sent.
    """
    own = _own_objects([classifier.model, *plan.attacks])
    buffer = io.BytesIO()

    def reduce(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
        if isinstance(value, Classifier):
            return _classifier, (value.model, value.one_hot_labels)
        return _reduced(value, own) if isinstance(value, keras.Model) else None

    try:
        with code_of_own(own):
            pickler(buffer, reduce).dump((classifier, plan))
    except Exception as error:  # Of Keras, of pickle, of a layer's own configuration.
        raise InputError(
            "`model` must be one that can be saved as .keras, and sent to workers with "
            f"its attacks. Received: {classifier.name} ({one_line(error)})"
        ) from error
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[Classifier, Plan]:
    """Makes a model and what is run on it again.

    Raises:
        InputError: If that is not the model that was packed.
    """
    classifier, plan = pickle.loads(data)
    return classifier, plan


def _reduced(
    model: keras.Model, own: Iterable[Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What a model is made again of: its file, the objects that this names, its loss.

    Its optimizer's state is in the file; its metrics are left out.
    """
    names = {one.__name__: one for one in own}
    names |= {keras.saving.get_registered_name(one): one for one in own}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        keras.Model.save(model, path)
        with open(path, "rb") as file:
            data = file.read()
    classifier = Classifier(model)
    loss = keras.tree.map_structure(_encoded, classifier.compiled_loss)
    return _model, (model.name, data, names, loss, classifier.fingerprint())


def _model(
    name: str, data: bytes, objects: dict[str, Any], loss: Any, digest: str
) -> keras.Model:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            with open(path, "wb") as file:
                file.write(data)
            # The file is this very program's own.
            model = keras.models.load_model(
                path, custom_objects=objects, compile=False, safe_mode=False
            )
        if loss is not None:
            with keras.saving.custom_object_scope(objects):
                decoded = keras.tree.map_structure(_decoded, loss)
            keras.Model.compile(model, loss=decoded)
        found = Classifier(model).fingerprint()
    except Exception as error:
        raise InputError(
            "`model` must be one that Keras loads from what it saved. "
            f"Received: {name} ({one_line(error)})"
        ) from error
    if found != digest:
        raise InputError(
            "`model` must be the same after it was saved and loaded; a layer or a loss "
            "of your own needs a get_config that has all its settings. "
            f"Received: {name}, which has other layers, weights or another loss then"
        )
    return model


def _classifier(model: keras.Model, one_hot_labels: bool) -> Classifier:
    classifier = Classifier(model)
    classifier.one_hot_labels = one_hot_labels
    return classifier


class _Config:
    """What a Keras object is deserialized from; no structure to Keras's `tree`."""

    def __init__(self, config: Any) -> None:
        self.config = config


def _encoded(loss: Any) -> Any:
    if isinstance(loss, keras.losses.Loss):
        return _Config(keras.saving.serialize_keras_object(loss))
    return loss


def _decoded(loss: Any) -> Any:
    if isinstance(loss, _Config):
        return keras.saving.deserialize_keras_object(loss.config, safe_mode=False)
    return loss


def _own_objects(values: Iterable[Any]) -> set[Any]:
    """The classes and functions, not of Keras, that some things are made of."""
    found: set[Any] = set()
    seen: set[int] = set()
    left = list(values)
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (list, tuple)):
            left += one
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, (types.FunctionType, type)):
            found.add(one)
        elif isinstance(one, (keras.layers.Layer, keras.losses.Loss, Attack)):
            left += [type(one), *vars(one).values()]
        elif isinstance(one, (keras.Initializer, keras.Regularizer)) or callable(one):
            left.append(type(one))
    return {one for one in found if one.__module__.partition(".")[0] != "keras"}

"""A Keras model's layers: their settings and their code, in a form to be compared."""

import types
from typing import Any

import keras

from keras_gce.classifier.operations import activation_of, of_keras
from keras_gce.fingerprint import PLAIN, code_of

__all__ = ["data_format_of", "structure_of"]

# Of a configuration: what Keras numbers, what loading a model may change, what has no
# say in inference.
IDLE = ("name", "dtype", "trainable", "batch_shape", "batch_input_shape", "seed")


def structure_of(model: keras.Model) -> list[list[Any]]:
    """Returns class, plain settings and own code of each layer, in their order.

    The same for a model and for what is loaded from its file: names, which Keras
    numbers, and serialized objects have no part in it, nor has the wiring.

    Args:
        model: A `keras.Model`.

    Returns:
        A list of what JSON can hold.
    """
    return [
        [type(layer).__qualname__, _settings(layer), _code(layer)]
        for layer in _layers_of(model)
    ]


def data_format_of(model: keras.Model) -> str:
    """Returns "channels_first" or "channels_last": what its layers have, or Keras."""
    for layer in _layers_of(model):
        # Layers of images have it.
        found = getattr(layer, "data_format", None)
        if found is not None:
            return found
    return keras.config.image_data_format()


def _layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """The model and all its layers, those of a layer right after it."""
    found, left = [], [model]
    while left:
        layer = left.pop(0)
        found.append(layer)
        # Models have layers, and so has a `Pipeline`.
        left = [*(getattr(layer, "layers", None) or []), *left]
    return found


def _settings(layer: keras.layers.Layer) -> dict[str, Any]:
    try:
        config = {} if isinstance(layer, keras.Model) else layer.get_config()
    except (NotImplementedError, TypeError, ValueError):  # Where it can't be saved.
        config = {}
    if not of_keras(type(layer)):
        usual = vars(keras.layers.Layer(name="usual"))  # Not one that is counted.
        config = {k: v for k, v in vars(layer).items() if k not in usual} | config
    settings = {
        key: list(value) if isinstance(value, (tuple, list)) else value
        for key, value in config.items()
        if key not in IDLE and not key.startswith("_") and _is_plain(value)
    }
    activation = activation_of(layer)
    settings["activation"] = getattr(activation, "__name__", str(type(activation)))
    return settings


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(one, PLAIN) for one in value)
    return isinstance(value, PLAIN)


def _code(layer: keras.layers.Layer) -> list[Any]:
    """The code of a layer that is not Keras's, or that runs a user's function."""
    own = type(layer).call
    functions = [getattr(layer, "function", None)]  # Of a Lambda layer.
    if not of_keras(own):
        functions.append(own)
    return [code_of(f) for f in functions if isinstance(f, types.FunctionType)]

"""What a Keras model's layers do, for telling two models of the same weights apart."""

import types

import keras

from keras_gce.classifier_ending import of_keras
from keras_gce.fingerprint import PLAIN, code_of

__all__ = ["structure_of"]

# Of a configuration: what Keras numbers, what loading a model may change, what has no
# say in inference.
IDLE = ("name", "dtype", "trainable", "batch_shape", "batch_input_shape", "seed")


def structure_of(model):
    """Returns class, plain settings and own code of each layer, in their order.

    The same for a model and for what is loaded from its file: names, which Keras
    numbers, and serialized objects have no part in it, nor has the wiring.

    Args:
        model: A `keras.Model`.

    Returns:
        A list of what JSON can hold.
    """
    found, layers = [], [model]
    while layers:
        layer = layers.pop(0)
        inner = getattr(layer, "layers", None) or []
        layers = [*inner, *layers]
        found.append([type(layer).__qualname__, _settings(layer), _code(layer)])
    return found


def _settings(layer):
    try:
        config = {} if isinstance(layer, keras.Model) else layer.get_config()
    except NotImplementedError:  # Of a layer that can't be saved.
        config = {}
    if not of_keras(type(layer)):
        usual = vars(keras.layers.Layer(name="usual"))  # Not one that is counted.
        config = {k: v for k, v in vars(layer).items() if k not in usual} | config
    settings = {
        key: list(value) if isinstance(value, (tuple, list)) else value
        for key, value in config.items()
        if key not in IDLE and not key.startswith("_") and _is_plain(value)
    }
    activation = getattr(layer, "activation", None)
    settings["activation"] = getattr(activation, "__name__", str(type(activation)))
    return settings


def _is_plain(value):
    if isinstance(value, (tuple, list)):
        return all(isinstance(one, PLAIN) for one in value)
    return isinstance(value, PLAIN)


def _code(layer):
    """The code of a layer that is not Keras's, or that runs a user's function."""
    own = type(layer).call
    functions = [getattr(layer, "function", None)]
    if not of_keras(own):
        functions.append(own)
    return [code_of(f) for f in functions if isinstance(f, types.FunctionType)]

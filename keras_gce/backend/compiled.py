"""The functions compiled for each model, kept while it is what it was then."""

import weakref
from typing import Any

import keras

__all__ = ["compiled_for", "functions_of"]

# They hold the model weakly, so that the entry goes when the model does.
_COMPILED: weakref.WeakKeyDictionary[keras.Model, tuple[Any, dict[Any, Any]]] = (
    weakref.WeakKeyDictionary()
)


def functions_of(classifier: Any) -> dict[Any, Any]:
    """Returns the dict of functions compiled for a classifier's model.

    It is a new one where the model has been compiled or built anew since: a layer may
    have been exchanged, or do something else.
    """
    state, functions = _COMPILED.get(classifier.model, (None, {}))
    if state != classifier.state:
        functions = {}
        _COMPILED[classifier.model] = (classifier.state, functions)
    return functions


def compiled_for(model: keras.Model) -> dict[Any, Any]:
    """Returns the same dict for a model, empty where there is none."""
    return _COMPILED.get(model, (None, {}))[1]

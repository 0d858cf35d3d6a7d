"""What tells two things apart: arrays, settings, losses, callables."""

import dataclasses
import functools
import hashlib
import json
import types
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["PLAIN", "code_of", "describe", "fingerprint", "library_of"]

# What JSON holds as it is.
PLAIN = (str, int, float, bool, type(None))
# Objects that hold each other end here.
MAX_DEPTH = 8


def fingerprint(*values: Any) -> str:
    """Returns a digest of values: the same in every process, for what does the same.

    Args:
        *values: Arrays, and all that `describe` takes.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.shape} {value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(describe(value), sort_keys=True).encode())
    return digest.hexdigest()


def describe(value: Any, depth: int = 0) -> Any:
    """Returns what a value is, as what JSON can hold, equal for equal values alone.

    A loss is its class and configuration, a layer its class and weights. A function is
    what it does: its code, constants, defaults, and the values that it has around it.
    Two lambdas are one only if they compute the same from the same.
    """
    if isinstance(value, PLAIN):
        return value
    if depth > MAX_DEPTH:
        return type(value).__qualname__

    def inner(one: Any) -> Any:
        return describe(one, depth + 1)

    if isinstance(value, np.generic):
        return value.item() if isinstance(value.item(), PLAIN) else str(value)
    if isinstance(value, np.ndarray):
        return {"array": fingerprint(value)}
    if isinstance(value, dict):
        return {str(key): inner(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        if isinstance(value, (set, frozenset)):
            value = sorted(value, key=repr)
        return [inner(one) for one in value]
    if isinstance(value, functools.partial):
        return {
            "partial": [inner(value.func), inner(value.args), inner(value.keywords)]
        }
    if isinstance(value, types.MethodType):
        return {"method": [inner(value.__self__), inner(value.__func__)]}
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType, type)):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": _name(type(value)), "fields": inner(fields)}
    # By what it has: this file does without Keras.
    if hasattr(value, "get_weights"):  # A layer or a model of Keras.
        return {
            "class": _name(type(value)),
            "weights": fingerprint(*value.get_weights()),
        }
    if hasattr(value, "__array__"):
        return {"array": fingerprint(np.asarray(value))}
    return _object(value, inner)


def _object(value: Any, inner: Callable[[Any], Any]) -> dict[str, Any]:
    """An instance: its class, its configuration, and what it does when called."""
    found: dict[str, Any] = {"class": _name(type(value))}
    if hasattr(value, "get_config"):  # A loss of Keras.
        config = dict(value.get_config())
        config.pop("name", None)  # Keras numbers them.
        found["config"] = inner(config)
    # Of a configuration that names a function alone.
    if isinstance(getattr(value, "fn", None), types.FunctionType):
        found["fn"] = inner(value.fn)
    if _is_known(type(value)):
        return found
    for name in ("call", "__call__"):
        function = getattr(type(value), name, None)
        if isinstance(function, types.FunctionType) and not _is_known(function):
            found[name] = inner(function)
    found["attributes"] = inner(
        {
            name: one
            for name, one in getattr(value, "__dict__", {}).items()
            if name not in ("name", "_auto_config", "_tracker", "_lock")
        }
    )
    return found


def _function(
    function: types.FunctionType, inner: Callable[[Any], Any]
) -> str | dict[str, Any]:
    if _is_known(function):
        return _name(function)
    code = function.__code__
    around = {}
    for name in sorted(_names(code)):
        # What a global of the function's module is worth, a helper's code too.
        if name in function.__globals__:
            one = function.__globals__[name]
            itself = one is function
            around[name] = "itself" if itself else inner(one)
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(inner(cell.cell_contents))
        except ValueError:  # Not filled yet.
            cells.append(None)
    return {
        "function": _name(function),
        "code": _code(code),
        "globals": around,
        "closure": cells,
        "defaults": inner([function.__defaults__, function.__kwdefaults__]),
    }


def _names(code: types.CodeType) -> set[str]:
    """The names that a function's code and the code inside it look up."""
    names = set(code.co_names)
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            names |= _names(one)
    return names


def _constant(value: Any) -> str | list[Any]:
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):  # Whose order is that of this process's hashes.
        return sorted(map(repr, value))
    return repr(value)


def _code(code: types.CodeType) -> list[Any]:
    """The instructions and constants of a function, without where they stand."""
    constants = [_constant(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def code_of(function: types.FunctionType) -> list[Any]:
    """Returns what a function's own code is, as what JSON can hold."""
    return _code(function.__code__)


def _name(value: Any) -> str:
    # Keras and we move classes between files, and a checkpoint has to outlive that.
    module = library_of(value) if _is_known(value) else value.__module__
    return f"{module}.{value.__qualname__}"


def library_of(value: Any) -> str:
    """Returns the name of the package that a class or a function comes from."""
    # Functions of other languages have none, or `None`.
    return (getattr(value, "__module__", None) or "").split(".")[0]


def _is_known(value: Any) -> bool:
    """Whether a class or a function is Keras's or ours: its name says what it does."""
    return library_of(value) in ("keras", "keras_gce")

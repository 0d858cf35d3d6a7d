"""What happens when Keras is imported: the losses are registered with it.

A saved model loads after `import keras_gce` alone, but Keras finds a registered class
only once its module has been imported. To import the losses at once would bring Keras,
and TensorFlow with it: seconds, for `keras-gce --help` too. So where Keras isn't there
yet, a finder waits on `sys.meta_path` until somebody imports it, imports the losses
right after it, and goes. Where Keras can't be imported because its backend is missing,
it says so in one line.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator

from keras_gce.errors import BackendError
from keras_gce.imports import around_import

__all__ = ["register_losses"]

BACKENDS = ("tensorflow", "jax", "torch")


def register_losses() -> None:
    """Imports the losses: now where Keras is loaded, else right after it."""
    if "keras" in sys.modules:
        _import_losses()
    else:
        around_import("keras", _with_losses)


def _import_losses() -> None:
    # The statement, not `importlib.import_module`: where the losses are being imported
    # already, by whom Keras is imported here or by another thread, they are taken as
    # they are. What they need of ours must not import Keras: it would be half loaded.
    import keras_gce.losses  # noqa: F401


@contextlib.contextmanager
def _with_losses() -> Iterator[None]:
    before = set(sys.modules)
    try:
        yield
    except ModuleNotFoundError as error:
        line = _missing_backend(error)
        if line is None:  # Of a backend that is there and broken: its own error.
            raise
        # Else the next try, with another KERAS_BACKEND, would find the old choice.
        for name in set(sys.modules) - before:
            if name.startswith("keras."):
                del sys.modules[name]
        raise BackendError(line) from None
    except ValueError as error:  # So Keras answers to a name that it does not know.
        asked = os.environ.get("KERAS_BACKEND")
        if asked is None or asked in BACKENDS or "backend" not in str(error):
            raise
        raise BackendError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}. Received: {asked}"
        ) from None
    _import_losses()


def _missing_backend(error: ModuleNotFoundError) -> str | None:
    """Returns what to do where a backend is not installed; `None`: it isn't that."""
    missing = (error.name or "").partition(".")[0]
    asked = os.environ.get("KERAS_BACKEND")
    chosen = missing == asked if asked else missing in BACKENDS
    if not chosen or importlib.util.find_spec(missing):
        return None
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    received = f"KERAS_BACKEND={asked}"
    if not asked:
        received = f"no KERAS_BACKEND, for which Keras takes {missing}"
    if installed:
        return (
            f"keras_gce needs a Keras backend: {installed[0]} is installed, set "
            f"KERAS_BACKEND={installed[0]}. Received: {received}, and no {missing}"
        )
    return (
        'keras_gce needs a Keras backend: pip install "keras_gce[tensorflow]", or '
        '"keras_gce[jax]" and set KERAS_BACKEND=jax, or "keras_gce[torch]" and set '
        f"KERAS_BACKEND=torch. Received: {received}, and none of the three"
    )

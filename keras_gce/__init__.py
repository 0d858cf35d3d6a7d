"""Guided Complement Entropy for Keras 3, and an evaluation that cannot flatter.

`model.compile(loss=keras_gce.losses.GuidedComplementEntropy())` trains with the
loss of "Improving Adversarial Robustness via Guided Complement Entropy" (ICCV
2019); `keras_gce.evaluate(...)` says how robust the model really is.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

_MODULES = (
    "attacks",
    "backend",
    "callbacks",
    "classifier",
    "datasets",
    "evaluation",
    "features",
    "losses",
    "models",
    "plotting",
    "recipes",
    "training",
    "tuning",
)
_NAMES = {
    "AdversarialModel": "training",
    "ComplementEntropy": "losses",
    "GuidedComplementEntropy": "losses",
    "evaluate": "evaluation",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]


def __getattr__(name):
    if name in _NAMES:
        module = importlib.import_module(f"{__name__}.{_NAMES[name]}")
        return getattr(module, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


# Keras finds a registered class only once its module is imported, so the losses
# come with the package: a saved model then loads after `import keras_gce` alone.
# The command line is the exception, because Keras brings TensorFlow with it and
# `keras-gce --help` should not wait 10 seconds; its commands import the losses.
if os.path.basename(sys.argv[0] if sys.argv else "") != "keras-gce" and (
    sys.argv[:1] != ["-m"] or "keras_gce" not in sys.orig_argv
):
    importlib.import_module(f"{__name__}.losses")

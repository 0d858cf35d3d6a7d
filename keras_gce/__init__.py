"""Guided Complement Entropy for Keras 3, and an evaluation that cannot flatter.

`model.compile(loss=keras_gce.losses.GuidedComplementEntropy())` trains with the
loss of "Improving Adversarial Robustness via Guided Complement Entropy" (ICCV
2019); `keras_gce.evaluate(...)` says how robust the model really is.
"""

import importlib
from typing import Any

from keras_gce.registration import register_losses

__version__ = "0.2.0"

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


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module = importlib.import_module(f"{__name__}.{_NAMES[name]}")
        return getattr(module, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


# Saved models then load after `import keras_gce` alone.
register_losses()

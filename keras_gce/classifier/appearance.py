"""What answers look like where nothing else tells: probabilities, rounded images."""

from collections.abc import Callable
from typing import NoReturn

import numpy as np

from keras_gce.classifier.predictions import is_finite, softmax
from keras_gce.errors import InputError, faq

__all__ = ["check_opaque", "check_unusual", "check_whole"]

# Around it a sigmoid's values and few logits can't be told apart.
FEW = 4


def check_opaque(
    name: str, z: np.ndarray, one_output: bool, takes_logits: bool | None
) -> None:
    """Refuses an output that no softmax is seen before and that looks like its own.

    Args:
        name: The model's.
        z: What was taken for logits, of shape `(N, K)`.
        one_output: Whether the model has one output for its two classes.
        takes_logits: Whether the model's loss takes logits; `None`: it doesn't say.
    """
    if one_output:
        # Of few images, or of logits near 0, the loss knows more than the values.
        value = z[:, 1]
        sure = len(z) >= FEW if takes_logits is None else not takes_logits
        seem = sure and value.min() >= 0 and value.max() <= 1
    else:
        z = z[is_finite(z)]
        total = z.sum(-1)
        # In bfloat16 a sum is off by so much. In percent, or drawn towards uniform, it
        # is another one, and the same for images that are not.
        one = np.allclose(total, 1, atol=1e-2)
        varied = len(z) >= FEW and np.ptp(z, axis=0).max() > 0
        same = varied and np.ptp(total) <= 2e-3 * total.max()
        seem = len(z) > 0 and z.min() >= 0 and (one or same)
    if seem:
        _refuse(name, z)


def check_unusual(name: str, z: np.ndarray, log_probabilities: np.ndarray) -> None:
    """Refuses logits that don't mean what the model's own output means."""
    p = np.exp(log_probabilities)
    if not np.allclose(softmax(z), p, atol=2e-2, equal_nan=True):
        _refuse(name, z)


def _refuse(name: str, z: np.ndarray) -> NoReturn:
    alone = ""
    if np.isin(z, (0, 1)).all():
        alone = "Where it says a class and nothing else, let it return 2 * output - 1. "
    raise InputError(
        "`model` must show where its logits are: its output looks like probabilities, "
        "but no softmax is seen at its end. Make it a functional or sequential model "
        f"that ends in softmax, or let it return logits. {alone}"
        f"Received: model={name}, output {z[0].tolist()}"
        + faq("logits-or-probabilities")
    )


def check_whole(
    name: str, x: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Refuses a model that rounds its images, as an embedding does."""
    low, high = x.min(), x.max()
    if low == high:
        return
    # Half way between whole numbers, where there are any between.
    between = np.clip(np.floor(x) + 0.4, low, high)
    if np.array_equal(predict(np.floor(x)), predict(between), equal_nan=True):
        raise InputError(
            "`model` must take images of real numbers. Received: "
            f"model={name}, whose integer Input leads to a layer that rounds them, so "
            "that no attack could move them"
        )

"""Arrays of predictions: in parts, finite, right."""

import numpy as np

__all__ = ["batches", "is_finite", "is_right", "softmax"]


def batches(index: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Returns an array in parts of at most `batch_size`."""
    return [index[i : i + batch_size] for i in range(0, len(index), batch_size)]


def is_finite(z: np.ndarray) -> np.ndarray:
    """Returns which rows of an array of logits hold finite numbers alone."""
    return np.isfinite(z).all(-1)


def is_right(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns which rows of logits give their class; never one that is not finite."""
    return (z.argmax(-1) == y) & is_finite(z)


def softmax(z: np.ndarray) -> np.ndarray:
    """Returns the softmax of an array over its last axis."""
    exp = np.exp(z - z.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)

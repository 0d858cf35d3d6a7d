"""The losses in float64 by their equations, and what their tests compare by."""

import math

import keras
import numpy as np
import pytest
from keras import ops


def reference(y, z, alpha, normalize=True):
    """The loss in float64 by its equation, arXiv 1903.09799, Eq. 3, from logits."""
    values = []
    for label, row in zip(y, np.asarray(z, "float64"), strict=True):
        p = np.exp(row - row.max() - np.log(np.exp(row - row.max()).sum()))
        others = np.delete(row, label)
        q = np.exp(others - others.max())
        q /= q.sum()
        entropy = -sum(v * math.log(v) for v in q if v > 0)
        values.append(-(p[label] ** alpha) * entropy)
    return np.array(values) / (math.log(z.shape[1] - 1) if normalize else 1)


def soft_reference(y, z, alpha, normalize=True):
    """Its expectation in float64, as DESIGN has it, class by class, from logits."""
    z = np.asarray(z, "float64")
    log_p = z - z.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    expectation = np.zeros(len(z))
    for g in range(z.shape[1]):
        others = np.delete(z, g, axis=-1)
        q = np.exp(others - others.max(-1, keepdims=True))
        q /= q.sum(-1, keepdims=True)
        entropy = -np.sum(q * np.log(np.where(q > 0, q, 1)), -1)
        expectation -= y[:, g] * np.exp(alpha * log_p[:, g]) * entropy
    return expectation / (math.log(z.shape[1] - 1) if normalize else 1)


def random_logits(k, scale, n=200):
    rng = np.random.default_rng(k)
    return (scale * rng.normal(size=(n, k))).astype("float32"), rng.integers(0, k, n)


def soft_labels(kind, y, k):
    """What label smoothing, mixup and a teacher make of integer labels."""
    one_hot, rng = np.eye(k)[y], np.random.default_rng(0)
    if kind == "smoothing":
        return 0.9 * one_hot + 0.1 / k
    if kind == "mixup":
        share = rng.random((len(y), 1))
        return share * one_hot + (1 - share) * one_hot[::-1]
    return rng.dirichlet(np.ones(k), len(y))


def compiled(function):
    """`function` where its arguments have no values yet."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return pytest.skip("torch runs what Keras compiles eagerly")


def gradient_of(function, x):
    """The gradient of the sum of `function(x)`, on each backend."""
    x = ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    elif keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(lambda x: ops.sum(function(x)))(x)
    else:
        x.requires_grad_()
        function(x).sum().backward()
        gradient = x.grad
    return to_numpy(gradient)


def to_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))

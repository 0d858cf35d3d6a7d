"""Complement entropy and guided complement entropy (GCE), on `keras.ops` alone.

With p = softmax(logits), g the true class, K classes, q_j = p_j / (1 - p_g) for
j != g and H(q) = -sum_j q_j log q_j:

    complement entropy        = -H(q)
    guided complement entropy = -p_g**alpha * H(q) / log(K - 1)

Minimising either flattens the wrong classes; the guiding factor p_g**alpha lets
that count only as far as the true class is already believed. Under a distribution y
over the classes (label smoothing, mixup, CutMix) the loss is its expectation,
sum_g y_g loss(g, p).

The source is Chen et al., "Improving Adversarial Robustness via Guided Complement
Entropy", ICCV 2019 (arXiv 1903.09799). Its equations carry one minus sign too many, and
its authors' code divides by log(K): see `guided_complement_entropy`.
"""

import math

import keras
from keras import ops

from keras_gce.checks import (
    TOLERANCE,
    Tensor,
    check_number,
    check_predictions,
    check_targets,
)

__all__ = ["complement_entropy", "guided_complement_entropy"]


@keras.saving.register_keras_serializable(package="keras_gce")
def complement_entropy(
    y_true: Tensor,
    y_pred: Tensor,
    normalize: bool = False,
    from_logits: bool = False,
    axis: int = -1,
) -> Tensor:
    """Computes the complement entropy: the negative entropy of the wrong classes.

    ```
    loss = -H(q),  q_j = p_j / (1 - p_g) for j != g
    ```

    The minimum, -log(K - 1), is reached when the wrong classes are equally
    probable; `normalize=True` divides by log(K - 1), so that it is -1.

    Example:

    >>> y_pred = [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]
    >>> loss = complement_entropy([0, 0], y_pred)
    >>> [round(float(value), 4) for value in loss]
    [-0.6931, 0.0]

    Args:
        y_true: True classes, or a distribution over them, as for
            `guided_complement_entropy`.
        y_pred: Predictions of shape `(..., K)`.
        normalize: Whether to divide by log(K - 1). Defaults to `False`.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes in `y_pred`. Defaults to -1.

    Returns:
        The loss of each example, of `y_pred`'s shape without the class axis, in
        [-log(K - 1), 0], or in [-1, 0] with `normalize`; in compiled code NaN for a
        label that would be refused.

    Raises:
        ValueError: As `guided_complement_entropy`, of which it is the case alpha = 0.

    Reference:
        Chen et al., "Complement Objective Training", ICLR 2019 (arXiv 1903.01182),
        Eq. 2.
    """
    return guided_complement_entropy(
        y_true, y_pred, 0.0, normalize=normalize, from_logits=from_logits, axis=axis
    )


@keras.saving.register_keras_serializable(package="keras_gce")
def guided_complement_entropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float = 1 / 3,
    normalize: bool = True,
    from_logits: bool = False,
    axis: int = -1,
) -> Tensor:
    """Computes the guided complement entropy (GCE).

    ```
    loss = -p_g**alpha * H(q) / log(K - 1),  q_j = p_j / (1 - p_g) for j != g
    ```

    It is negative: 0 is the worst value and -1 the ideal one, where the true class
    has probability 1. `alpha=0` gives the normalised complement entropy.

    Not to be confused with generalized cross-entropy, which Keras documents by the
    same three letters.

    Example:

    >>> y_pred = [[0.125, 0.4375, 0.4375], [1.0, 0.0, 0.0]]
    >>> loss = guided_complement_entropy([0, 0], y_pred)
    >>> [round(float(value), 4) for value in loss]
    [-0.5, -1.0]

    Under a soft label, the expectation of the losses of the classes:

    >>> p = [[0.125, 0.4375, 0.4375]]
    >>> loss = guided_complement_entropy([[0.75, 0.25, 0.0]], p)
    >>> first, second = (guided_complement_entropy([g], p) for g in (0, 1))
    >>> round(float((loss - (0.75 * first + 0.25 * second))[0]), 5)
    0.0

    Args:
        y_true: True classes: integers of shape `(...)` or `(..., 1)` in [0, K), or
            of `y_pred`'s shape a distribution over the classes, one-hot or soft:
            entries >= 0 that add up to 1 within 0.005, which half precision keeps.
        y_pred: Predictions of shape `(..., K)`.
        alpha: Exponent of the guiding factor, a finite number >= 0. Defaults to
            1/3, the paper's choice.
        normalize: Whether to divide by log(K - 1). Defaults to `True`.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes in `y_pred`. Defaults to -1.

    Returns:
        The loss of each example, of `y_pred`'s shape without the class axis, in
        [-1, 0], or in [-log(K - 1), 0] without `normalize`; under a distribution the
        expectation. In compiled code, where labels cannot be refused, a label outside
        [0, K) and what is no distribution give NaN.

    Raises:
        ValueError: If `alpha` is negative or not finite, shapes do not match, there
            are too few classes (2, or 1 without `normalize`), or a label that can be
            seen lies outside [0, K) or is no distribution.

    Reference:
        Chen et al., "Improving Adversarial Robustness via Guided Complement
        Entropy", ICCV 2019 (arXiv 1903.09799), Eq. 3. The sign printed there is
        the opposite of the one that its text and the authors' code minimise; the
        authors' code divides by log(K), the paper and this function by log(K - 1).
    """
    check_number("alpha", alpha, least=0)
    y_pred = ops.convert_to_tensor(y_pred)
    if not keras.backend.is_float_dtype(y_pred.dtype):
        y_pred = ops.cast(y_pred, keras.config.floatx())
    axis = check_predictions(y_pred.shape, axis, normalize)
    y = ops.convert_to_tensor(y_true)
    is_distribution = check_targets(y_true, y.shape, y_pred.shape, axis)
    y_pred = ops.moveaxis(y_pred, axis, -1)

    dtype = y_pred.dtype
    # Half precision cannot hold the intermediate values; the result fits again.
    z = y_pred if dtype == "float64" else ops.cast(y_pred, "float32")
    p = None if from_logits else y_pred
    if p is not None:
        z = _safe_log(z, dtype)

    if is_distribution:
        y = ops.cast(ops.moveaxis(y, axis, -1), z.dtype)
        loss = _expected_loss(y, z, p, alpha, normalize)
        off = ops.abs(ops.sum(y, axis=-1) - 1.0)
        valid = ops.logical_and(off <= TOLERANCE, ops.all(y >= 0, axis=-1))
    else:
        y = ops.squeeze(y, axis) if len(y.shape) == len(z.shape) else y
        is_true = _one_hot(y, z.shape[-1])
        loss = _loss_of_class(is_true, z, p, alpha, normalize)
        valid = ops.any(is_true, axis=-1)
    return ops.cast(ops.where(valid, loss, float("nan")), dtype)


def _loss_of_class(
    is_true: Tensor, z: Tensor, p: Tensor | None, alpha: float, normalize: bool
) -> Tensor:
    """The loss of the one class that `is_true` names in z of shape (..., K).

    By softmax over the K - 1 others, never by dividing by 1 - p_g, which loses every
    digit as p_g -> 1.
    """
    others = ops.where(is_true, ops.cast(-1e30, z.dtype), z)
    top = ops.stop_gradient(ops.max(others, axis=-1, keepdims=True))
    shifted = others - top
    exp = ops.exp(shifted)
    total, weighted = ops.sum(exp, axis=-1), ops.sum(exp * shifted, axis=-1)
    loss = _negative_entropy(total, weighted, z.shape[-1] - 1, normalize)
    if alpha == 0:
        return loss
    log_p = z_true = ops.sum(ops.where(is_true, z, 0.0), axis=-1)
    if p is None:
        log_p = -ops.softplus(ops.log(total) - (z_true - top[..., 0]))
    else:
        p = ops.sum(ops.where(is_true, p, 0.0), axis=-1)
    return _guide(log_p, p, alpha) * loss


def _expected_loss(
    y: Tensor, z: Tensor, p: Tensor | None, alpha: float, normalize: bool
) -> Tensor:
    """sum_g y_g loss(g, p), in O(K).

    Where 1 - p_g >= 1/2, sums over the others are sums over all less one term. Only
    one class can have less, the most probable: it alone goes by `_loss_of_class`. So
    does the class of a one-hot label, and its loss is that of an integer.
    """
    num_classes = z.shape[-1]
    drawn = y > 0
    is_hard = ops.sum(ops.cast(drawn, "int32"), axis=-1, keepdims=True) == 1
    is_pivot = _one_hot(ops.argmax(ops.where(is_hard, y, z), axis=-1), num_classes)

    shifted = z - ops.stop_gradient(ops.max(z, axis=-1, keepdims=True))
    exp = ops.exp(shifted)
    total = ops.sum(exp, axis=-1, keepdims=True)
    weighted = ops.sum(exp * shifted, axis=-1, keepdims=True)
    # Nothing is taken out for classes whose result has no weight: their sums could
    # be 0, and the gradient 0 * NaN.
    counts = ops.logical_and(drawn, ops.logical_not(is_pivot))
    own = ops.where(counts, exp, 0.0)
    losses = _negative_entropy(
        total - own, weighted - own * shifted, num_classes - 1, normalize
    )
    if alpha > 0:
        log_p = shifted - ops.log(total) if p is None else z
        losses = _guide(log_p, p, alpha) * losses
    pivot = _loss_of_class(is_pivot, z, p, alpha, normalize)
    losses = ops.where(is_pivot, pivot[..., None], losses)
    return ops.sum(y * losses, axis=-1)


def _negative_entropy(
    total: Tensor, weighted: Tensor, count: int, normalize: bool
) -> Tensor:
    """-H of exp(s_j) / total, of total = sum exp(s_j), weighted = sum s_j exp(s_j).

    H is log(count) less the divergence from uniform: exact where all are equal.
    """
    divergence = weighted / total + ops.log(count / total)
    # Rounding may leave [0, log(count)] by an ulp; the gradient stays as it is.
    clipped = ops.clip(divergence, 0.0, math.log(count))
    divergence = divergence + ops.stop_gradient(clipped - divergence)
    if normalize:
        return divergence / math.log(count) - 1.0
    return divergence - math.log(count)


def _guide(log_p: Tensor, p: Tensor | None, alpha: float) -> Tensor:
    """p**alpha: from `log_p`, which is a number where the probability `p` is 0."""
    guide = ops.exp(alpha * log_p)
    return guide if p is None else ops.where(p > 0, guide, 0.0)


def _safe_log(p: Tensor, dtype: str) -> Tensor:
    """log(p) with log(0) a finite number, and a gradient that `dtype` can hold."""
    smallest_normal = 1.1754944e-38
    log_p = ops.log(ops.maximum(p, smallest_normal))
    # Far enough below that exp() makes it 0 beside any class that is not 0.
    log_p = ops.where(p < smallest_normal, -1e3, log_p)
    # Below this, 1 / p no longer fits, and a class so improbable pulls nothing.
    smallest_pull = 6.2e-5 if dtype == "float16" else 1e-30
    return ops.where(p < smallest_pull, ops.stop_gradient(log_p), log_p)


def _one_hot(classes: Tensor, num_classes: int) -> Tensor:
    # Labels may come as floats, since Loss.__call__ casts them.
    dtype = "float32" if keras.backend.is_float_dtype(classes.dtype) else "int32"
    return ops.equal(
        ops.cast(classes, dtype)[..., None], ops.arange(num_classes, dtype=dtype)
    )

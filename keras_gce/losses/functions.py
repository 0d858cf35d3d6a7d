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
import numbers

import keras
import numpy as np
from keras import ops

__all__ = [
    "ComplementEntropy",
    "GuidedComplementEntropy",
    "complement_entropy",
    "guided_complement_entropy",
]

# How far a distribution's sum may be from 1: bfloat16 rounds each entry by 0.002.
_TOLERANCE = 0.005


@keras.saving.register_keras_serializable(package="keras_gce")
def complement_entropy(y_true, y_pred, normalize=False, from_logits=False, axis=-1):
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
    y_true, y_pred, alpha=1 / 3, normalize=True, from_logits=False, axis=-1
):
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
    _check_alpha(alpha)
    y_pred = ops.convert_to_tensor(y_pred)
    if not keras.backend.is_float_dtype(y_pred.dtype):
        y_pred = ops.cast(y_pred, keras.config.floatx())
    y, is_distribution = _labels(y_true, y_pred, normalize, axis)
    if axis not in (-1, len(y_pred.shape) - 1):
        y_pred = ops.moveaxis(y_pred, axis, -1)

    dtype = y_pred.dtype
    # Half precision cannot hold the intermediate values; the result fits again.
    z = y_pred if dtype == "float64" else ops.cast(y_pred, "float32")
    p = None if from_logits else y_pred
    if not from_logits:
        z = _safe_log(z, dtype)

    if is_distribution:
        y = ops.cast(y, z.dtype)
        loss = _expected_loss(y, z, p, alpha, normalize)
        off = ops.abs(ops.sum(y, axis=-1) - 1.0)
        valid = ops.logical_and(off <= _TOLERANCE, ops.all(y >= 0, axis=-1))
    else:
        loss = _loss_of_class(y, z, p, alpha, normalize)
        valid = ops.any(y, axis=-1)
    loss = ops.where(valid, loss, float("nan"))
    return ops.cast(loss, dtype)


class _FunctionLoss(keras.losses.Loss):
    """A function with its settings, which a subclass names and keeps as attributes."""

    _function = None
    _names = ()

    def call(self, y_true, y_pred):
        return self._function(y_true, y_pred, **self._settings())

    def get_config(self):
        return {**super().get_config(), **self._settings(), "dtype": self.dtype}

    def _settings(self):
        return {name: getattr(self, name) for name in self._names}


@keras.saving.register_keras_serializable(package="keras_gce")
class GuidedComplementEntropy(_FunctionLoss):
    """Computes the guided complement entropy (GCE) between labels and predictions.

    ```
    loss = -p_g**alpha * H(q) / log(K - 1),  q_j = p_j / (1 - p_g) for j != g
    ```

    It takes the place of cross-entropy and needs nothing else. The loss is
    negative by design: 0 is the worst value and -1 the ideal one.

    Keras resolves a bare string only among its own losses: pass an instance, or
    what `keras.losses.serialize` returns. Models compiled with it save to `.keras`
    and load without `custom_objects` once `keras_gce` is imported.

    Example:

    >>> loss = GuidedComplementEntropy(alpha=1 / 3)
    >>> y_pred = [[0.125, 0.4375, 0.4375], [1.0, 0.0, 0.0]]
    >>> round(float(loss([0, 0], y_pred)), 4)
    -0.75

    Usage with `compile()`:

    ```python
    model.compile("adam", loss=keras_gce.losses.GuidedComplementEntropy())
    ```

    Args:
        alpha: Exponent of the guiding factor, a finite number >= 0. Defaults to
            1/3, the paper's choice.
        normalize: Whether to divide by log(K - 1). Defaults to `True`.
        from_logits: Whether predictions are logits. Defaults to `False`.
        axis: The axis of the classes. Defaults to -1.
        reduction: As for Keras's own losses. Defaults to `"sum_over_batch_size"`.
        name: Optional name. Defaults to `"guided_complement_entropy"`.
        dtype: As for Keras's own losses. Defaults to `keras.config.floatx()`.

    Raises:
        ValueError: If `alpha` is negative or not finite; when called, as
            `guided_complement_entropy`.

    Reference:
        Chen et al., ICCV 2019 (arXiv 1903.09799), Eq. 3.
    """

    _function = staticmethod(guided_complement_entropy)
    _names = ("alpha", "normalize", "from_logits", "axis")

    def __init__(
        self,
        alpha=1 / 3,
        normalize=True,
        from_logits=False,
        axis=-1,
        reduction="sum_over_batch_size",
        name="guided_complement_entropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        _check_alpha(alpha)
        self.alpha = float(alpha)
        self.normalize = normalize
        self.from_logits = from_logits
        self.axis = axis


@keras.saving.register_keras_serializable(package="keras_gce")
class ComplementEntropy(_FunctionLoss):
    """Computes the complement entropy between labels and predictions.

    ```
    loss = -H(q),  q_j = p_j / (1 - p_g) for j != g
    ```

    It says nothing about the true class: train it together with cross-entropy, as
    complement objective training does, never alone.

    Example:

    >>> loss = ComplementEntropy()
    >>> round(float(loss([0], [[0.5, 0.25, 0.25]])), 4)
    -0.6931

    Args:
        normalize: Whether to divide by log(K - 1). Defaults to `False`.
        from_logits: Whether predictions are logits. Defaults to `False`.
        axis: The axis of the classes. Defaults to -1.
        reduction: As for Keras's own losses. Defaults to `"sum_over_batch_size"`.
        name: Optional name. Defaults to `"complement_entropy"`.
        dtype: As for Keras's own losses. Defaults to `keras.config.floatx()`.

    Raises:
        ValueError: When called, as `complement_entropy`.

    Reference:
        Chen et al., ICLR 2019 (arXiv 1903.01182), Eq. 2.
    """

    _function = staticmethod(complement_entropy)
    _names = ("normalize", "from_logits", "axis")

    def __init__(
        self,
        normalize=False,
        from_logits=False,
        axis=-1,
        reduction="sum_over_batch_size",
        name="complement_entropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.normalize = normalize
        self.from_logits = from_logits
        self.axis = axis


def _check_alpha(alpha):
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, numbers.Real)
        or not math.isfinite(alpha)
        or alpha < 0
    ):
        raise ValueError(
            f"`alpha` must be a finite number >= 0. Received: alpha={alpha}"
        )


def _loss_of_class(is_true, z, p, alpha, normalize):
    """The loss of the one class that `is_true` names in z of shape (..., K).

    By softmax over the K - 1 others, never by dividing by 1 - p_g, which loses every
    digit as p_g -> 1.
    """
    others = ops.where(is_true, ops.cast(-1e30, z.dtype), z)
    top = ops.max(others, axis=-1, keepdims=True)
    shifted = others - ops.stop_gradient(top)
    exp = ops.exp(shifted)
    total = ops.sum(exp, axis=-1)
    weighted = ops.sum(exp * shifted, axis=-1)
    loss = _negative_entropy(total, weighted, z.shape[-1] - 1, normalize)
    if alpha > 0:
        log_p = z_true = ops.sum(ops.where(is_true, z, 0.0), axis=-1)
        if p is None:
            shifted_true = z_true - ops.stop_gradient(top[..., 0])
            log_p = -ops.softplus(ops.log(total) - shifted_true)
        else:
            p = ops.sum(ops.where(is_true, p, 0.0), axis=-1)
        loss = _guide(log_p, p, alpha) * loss
    return loss


def _expected_loss(y, z, p, alpha, normalize):
    """sum_g y_g loss(g, p), in O(K).

    Where 1 - p_g >= 1/2, sums over the others are sums over all less one term. Only
    one class can have less, the most probable: it alone goes by `_loss_of_class`. So
    does the class of a one-hot label, and its loss is that of an integer.
    """
    num_classes = z.shape[-1]
    drawn = y > 0
    is_hard = ops.sum(ops.cast(drawn, "int32"), axis=-1, keepdims=True) == 1
    is_pivot = _mask(ops.argmax(ops.where(is_hard, y, z), axis=-1), num_classes)

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


def _negative_entropy(total, weighted, count, normalize):
    """-H of exp(s_j) / total, of total = sum exp(s_j), weighted = sum s_j exp(s_j).

    H is log(count) less the divergence from uniform: exact where all are equal.
    """
    divergence = weighted / total + ops.log(count / total)
    # Rounding may leave [0, log(count)] by an ulp; the gradient stays as it is.
    clipped = ops.clip(divergence, 0.0, math.log(max(count, 1)))
    divergence = divergence + ops.stop_gradient(clipped - divergence)
    if normalize:
        return divergence / math.log(count) - 1.0
    return divergence - math.log(count)


def _guide(log_p, p, alpha):
    """p**alpha: from `log_p`, which is a number where the probability `p` is 0."""
    guide = ops.exp(alpha * log_p)
    return guide if p is None else ops.where(p > 0, guide, 0.0)


def _safe_log(p, dtype):
    """log(p) with log(0) a finite number, and a gradient that `dtype` can hold."""
    smallest_normal = 1.1754944e-38
    log_p = ops.log(ops.maximum(p, smallest_normal))
    # Far enough below that exp() makes it 0 beside any class that is not 0.
    log_p = ops.where(p < smallest_normal, -1e3, log_p)
    # Below this, 1 / p no longer fits, and a class so improbable pulls nothing.
    smallest_pull = 6.2e-5 if dtype == "float16" else 1e-30
    return ops.where(p < smallest_pull, ops.stop_gradient(log_p), log_p)


def _labels(y_true, y_pred, normalize, axis):
    """Returns a distribution and True, or the true class as booleans and False."""
    rank = len(y_pred.shape)
    if rank == 0 or not -rank <= axis < rank:
        raise ValueError(
            "`axis` must be an axis of `y_pred`. "
            f"Received: axis={axis}, y_pred.shape={tuple(y_pred.shape)}"
        )
    axis = axis % rank
    num_classes = y_pred.shape[axis]
    fewest = 3 if normalize else 2
    if num_classes is None or num_classes < fewest:
        raise ValueError(
            f"`y_pred` must have at least {fewest} classes along axis {axis}"
            f"{' with normalize=True, since log(K - 1) = 0 for 2' * bool(normalize)}. "
            f"Received: y_pred.shape={tuple(y_pred.shape)}"
        )
    values = _visible(y_true)
    y_true = ops.convert_to_tensor(y_true)
    shape, expected = list(y_true.shape), list(y_pred.shape)
    if _same_shape(shape, expected):
        if values is not None:
            _check_distribution(np.moveaxis(values, axis, -1))
        return ops.moveaxis(y_true, axis, -1) if axis != rank - 1 else y_true, True
    if len(shape) == rank and shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis=axis)
        shape.pop(axis)
    expected.pop(axis)
    if not _same_shape(shape, expected):
        raise ValueError(
            "`y_true` must hold integers of `y_pred`'s shape without the class axis, "
            "or with 1 there, or be a distribution of its shape. "
            f"Received: y_true.shape={tuple(y_true.shape)}, "
            f"y_pred.shape={tuple(y_pred.shape)}"
        )
    if values is not None and values.size:
        wrong = (values < 0) | (values >= num_classes) | (values != np.floor(values))
        if wrong.any():
            raise ValueError(
                f"`y_true` must hold integers in [0, {num_classes}). "
                f"Received: y_true with the label {values[wrong][0]}"
            )
    return _mask(y_true, num_classes), False


def _mask(classes, num_classes):
    """One-hot, as booleans."""
    # Labels may come as floats, since Loss.__call__ casts them.
    dtype = "float32" if keras.backend.is_float_dtype(classes.dtype) else "int32"
    return ops.equal(
        ops.cast(classes, dtype)[..., None], ops.arange(num_classes, dtype=dtype)
    )


def _same_shape(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def _check_distribution(values):
    values = values.astype("float64")
    sums = values.sum(-1)
    valid = (abs(sums - 1) <= _TOLERANCE) & (values >= 0).all(-1)
    if not valid.all():
        row = np.array2string(values[~valid][0], threshold=10, max_line_width=500)
        raise ValueError(
            "`y_true` must be one-hot or a distribution over the classes (entries >= 0 "
            "that add up to 1) where it has the shape of `y_pred`. "
            f"Received: y_true={row}, which adds up to {sums[~valid][0]:.6g}"
        )


def _visible(y_true):
    """Returns `y_true` as a NumPy array, or None inside compiled code."""
    try:
        return np.asarray(y_true)
    except Exception:  # Each backend's tracer refuses with an exception of its own.
        return None

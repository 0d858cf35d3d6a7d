"""Complement entropy and guided complement entropy (GCE), on `keras.ops` alone.

With p = softmax(logits), g the true class, K classes, q_j = p_j / (1 - p_g) for
j != g and H(q) = -sum_j q_j log q_j:

    complement entropy        = -H(q)
    guided complement entropy = -p_g**alpha * H(q) / log(K - 1)

Minimising either flattens the wrong classes; the guiding factor p_g**alpha lets
that count only as far as the true class is already believed.

Two facts about the source, Chen et al., "Improving Adversarial Robustness via
Guided Complement Entropy", ICCV 2019 (arXiv 1903.09799). The equations as printed
carry one minus sign too many: the paper's text (range 0 to -1) and the authors'
code minimise the negative quantity above, as this module does. And the authors'
code divides by log(K), the paper by log(K - 1): the paper's is used here, so that
the ideal prediction has the loss -1.
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
        y_true: True classes: integers of shape `(...)` or `(..., 1)` in [0, K), or
            one-hot of `y_pred`'s shape.
        y_pred: Predictions of shape `(..., K)`.
        normalize: Whether to divide by log(K - 1). Defaults to `False`.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes in `y_pred`. Defaults to -1.

    Returns:
        The loss of each example, of `y_pred`'s shape without the class axis, in
        [-log(K - 1), 0], or in [-1, 0] with `normalize`. In compiled code, where
        labels cannot be refused, a label outside [0, K) gives NaN.

    Raises:
        ValueError: If shapes do not match, there are too few classes (2, or 3 with
            `normalize`), or a label that can be seen lies outside [0, K).

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

    Args:
        y_true: True classes: integers of shape `(...)` or `(..., 1)` in [0, K), or
            one-hot of `y_pred`'s shape.
        y_pred: Predictions of shape `(..., K)`.
        alpha: Exponent of the guiding factor, a finite number >= 0. Defaults to
            1/3, the paper's choice.
        normalize: Whether to divide by log(K - 1). Defaults to `True`.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes in `y_pred`. Defaults to -1.

    Returns:
        The loss of each example, of `y_pred`'s shape without the class axis, in
        [-1, 0], or in [-log(K - 1), 0] without `normalize`. In compiled code, where
        labels cannot be refused, a label outside [0, K) gives NaN.

    Raises:
        ValueError: If `alpha` is negative or not finite, shapes do not match, there
            are too few classes (2, or 3 with `normalize`), or a label that can be
            seen lies outside [0, K).

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
    is_true = _one_hot_mask(y_true, y_pred, normalize, axis)
    if axis not in (-1, len(y_pred.shape) - 1):
        y_pred = ops.moveaxis(y_pred, axis, -1)
    num_others = y_pred.shape[-1] - 1

    dtype = y_pred.dtype
    # Half precision cannot hold the intermediate values; the result fits again.
    z = y_pred if dtype == "float64" else ops.cast(y_pred, "float32")
    if not from_logits:
        z = _safe_log(z, dtype)

    # Softmax over the K - 1 others, never by dividing by 1 - p_g, which loses every
    # digit as p_g -> 1. Their entropy is log(K - 1) minus the divergence from
    # uniform: exactly log(K - 1) where all others are equal.
    others = ops.where(is_true, ops.cast(-1e30, z.dtype), z)
    top = ops.max(others, axis=-1, keepdims=True)
    shifted = others - ops.stop_gradient(top)
    exp = ops.exp(shifted)
    total = ops.sum(exp, axis=-1)
    divergence = ops.sum(exp * shifted, axis=-1) / total + ops.log(num_others / total)
    # Rounding may leave [0, log(K - 1)] by an ulp; the gradient stays as it is.
    clipped = ops.clip(divergence, 0.0, math.log(max(num_others, 1)))
    divergence = divergence + ops.stop_gradient(clipped - divergence)
    loss = divergence - math.log(num_others)
    if normalize:
        loss = divergence / math.log(num_others) - 1.0

    if alpha > 0:
        z_true = ops.sum(ops.where(is_true, z, 0.0), axis=-1)
        if from_logits:
            shifted_true = z_true - ops.stop_gradient(top[..., 0])
            log_p = -ops.softplus(ops.log(total) - shifted_true)
            guide = ops.exp(alpha * log_p)
        else:
            p_true = ops.sum(ops.where(is_true, y_pred, 0.0), axis=-1)
            guide = ops.where(p_true > 0, ops.exp(alpha * z_true), 0.0)
        loss = guide * loss

    loss = ops.where(ops.any(is_true, axis=-1), loss, float("nan"))
    return ops.cast(loss, dtype)


@keras.saving.register_keras_serializable(package="keras_gce")
class GuidedComplementEntropy(keras.losses.Loss):
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
        normalize: Whether to divide by log(K - 1), for K >= 3 classes. Defaults to
            `True`.
        from_logits: Whether predictions are logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes. Defaults to -1.
        reduction: As for Keras's own losses. Defaults to `"sum_over_batch_size"`.
        name: Optional name. Defaults to `"guided_complement_entropy"`.
        dtype: The dtype of the loss's computations. Defaults to
            `keras.config.floatx()`.

    Raises:
        ValueError: If `alpha` is negative or not finite; when called, as
            `guided_complement_entropy`.

    Reference:
        Chen et al., "Improving Adversarial Robustness via Guided Complement
        Entropy", ICCV 2019 (arXiv 1903.09799), Eq. 3.
    """

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

    def call(self, y_true, y_pred):
        return guided_complement_entropy(
            y_true,
            y_pred,
            alpha=self.alpha,
            normalize=self.normalize,
            from_logits=self.from_logits,
            axis=self.axis,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "normalize": self.normalize,
            "from_logits": self.from_logits,
            "axis": self.axis,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="keras_gce")
class ComplementEntropy(keras.losses.Loss):
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
        normalize: Whether to divide by log(K - 1), for K >= 3 classes. Defaults to
            `False`.
        from_logits: Whether predictions are logits rather than probabilities.
            Defaults to `False`.
        axis: The axis of the classes. Defaults to -1.
        reduction: As for Keras's own losses. Defaults to `"sum_over_batch_size"`.
        name: Optional name. Defaults to `"complement_entropy"`.
        dtype: The dtype of the loss's computations. Defaults to
            `keras.config.floatx()`.

    Raises:
        ValueError: When called, as `complement_entropy`.

    Reference:
        Chen et al., "Complement Objective Training", ICLR 2019 (arXiv 1903.01182),
        Eq. 2.
    """

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

    def call(self, y_true, y_pred):
        return complement_entropy(
            y_true,
            y_pred,
            normalize=self.normalize,
            from_logits=self.from_logits,
            axis=self.axis,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "normalize": self.normalize,
            "from_logits": self.from_logits,
            "axis": self.axis,
            "dtype": self.dtype,
        }


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


def _safe_log(p, dtype):
    """log(p) with log(0) a finite number, and a gradient that `dtype` can hold."""
    smallest_normal = 1.1754944e-38
    log_p = ops.log(ops.maximum(p, smallest_normal))
    # Far enough below that exp() makes it 0 beside any class that is not 0.
    log_p = ops.where(p < smallest_normal, -1e3, log_p)
    # Below this, 1 / p no longer fits, and a class so improbable pulls nothing.
    smallest_pull = 6.2e-5 if dtype == "float16" else 1e-30
    return ops.where(p < smallest_pull, ops.stop_gradient(log_p), log_p)


def _one_hot_mask(y_true, y_pred, normalize, axis):
    """Returns the true classes as booleans of shape (..., K), classes last."""
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
        one_hot = ops.moveaxis(y_true, axis, -1) if axis != rank - 1 else y_true
        if values is not None and not _is_one_hot(values, axis):
            raise ValueError(
                "`y_true` must be one-hot (a single 1 for each example, the rest 0) "
                f"where it has the shape of `y_pred`. Received: y_true={values}"
            )
        return ops.cast(one_hot, "bool")
    if len(shape) == rank and shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis=axis)
        shape.pop(axis)
    expected.pop(axis)
    if not _same_shape(shape, expected):
        raise ValueError(
            "`y_true` must hold integers of `y_pred`'s shape without the class axis, "
            "or with 1 there, or be one-hot of its shape. "
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
    # Labels may come as floats, since Loss.__call__ casts them.
    classes = ops.arange(num_classes, dtype="int32")
    return ops.equal(ops.cast(y_true, "int32")[..., None], classes)


def _same_shape(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def _is_one_hot(values, axis):
    return bool(((values == 0) | (values == 1)).all() and (values.sum(axis) == 1).all())


def _visible(y_true):
    """Returns `y_true` as a NumPy array, or None inside compiled code."""
    try:
        return np.asarray(y_true)
    except Exception:  # Each backend's tracer refuses with an exception of its own.
        return None

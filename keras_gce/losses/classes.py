"""The losses as Keras compiles and saves them: a function and its settings."""

from typing import Any

import keras

from keras_gce.checks import Tensor, check_number
from keras_gce.losses.functions import guided_complement_entropy

__all__ = ["ComplementEntropy", "GuidedComplementEntropy"]


class _ComplementLoss(keras.losses.Loss):
    """`guided_complement_entropy` as a class, for an `alpha` that a child has."""

    alpha = 0.0

    def __init__(
        self,
        normalize: bool,
        from_logits: bool,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.normalize = normalize
        self.from_logits = from_logits
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Computes the loss of each example."""
        return guided_complement_entropy(
            y_true, y_pred, self.alpha, self.normalize, self.from_logits, self.axis
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the settings."""
        return {
            **super().get_config(),
            "normalize": self.normalize,
            "from_logits": self.from_logits,
            "axis": self.axis,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="keras_gce")
class GuidedComplementEntropy(_ComplementLoss):
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

    def __init__(
        self,
        alpha: float = 1 / 3,
        normalize: bool = True,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "guided_complement_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(normalize, from_logits, axis, reduction, name, dtype)
        check_number("alpha", alpha, least=0)
        self.alpha = float(alpha)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings."""
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="keras_gce")
class ComplementEntropy(_ComplementLoss):
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

    def __init__(
        self,
        normalize: bool = False,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "complement_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(normalize, from_logits, axis, reduction, name, dtype)

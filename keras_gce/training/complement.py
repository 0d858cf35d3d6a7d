"""COT, complement objective training: two updates for each batch."""

from typing import Any

import h5py
import keras
from keras import tree

from keras_gce import backend
from keras_gce.checks import Tensor
from keras_gce.errors import InputError
from keras_gce.losses import ComplementEntropy
from keras_gce.training.wrapper import Wrapper, classes_of, reduction_of

__all__ = ["ComplementObjectiveModel"]

# Of a weights file: what the wrapped model has no place for.
COMPLEMENT = "keras_gce_complement_optimizer"


@keras.saving.register_keras_serializable(package="keras_gce")
class ComplementObjectiveModel(Wrapper):
    """Complement objective training (COT): two updates for each batch.

    The first one is on the compiled loss, cross-entropy in the paper; the second one,
    after a new forward pass, on the complement entropy / (K - 1), by an optimizer of
    its own. Regularisation counts in both, as weight decay does in the authors' code.
    Metrics are those of the first pass. The authors train with SGD; Adam, which steps
    as far whatever a gradient's scale, undoes the division by K - 1.

    The learning rates are coupled, as in the authors' code: where the first
    optimizer's changes (by a callback such as `ReduceLROnPlateau`), the other's
    follows in the ratio that they had in `compile`. A learning-rate schedule of either
    optimizer is kept as it is; a twin has the same.

    Usage:

    ```python
    cot = ComplementObjectiveModel(model)
    cot.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    cot.fit(images, labels, epochs=20)
    ```

    Args:
        model: The `keras.Model`, with one output of shape `(N, K)`, K >= 3; see
            `keras_gce.classifier.Classifier`.
        name: Name of the wrapper. Defaults to `None`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Chen et al., "Complement Objective Training", ICLR 2019 (arXiv 1903.01182),
        Eq. 2 and 3 and Algorithm 1.
    """

    NAME = "complement_objective"

    def __init__(self, model: keras.Model, name: str | None = None) -> None:
        super().__init__(model, name=name)
        if self.num_classes < 3:
            raise InputError(
                "`model` must have at least 3 classes, or there is no complement. "
                f"Received: {self.num_classes}"
            )
        self.complement_optimizer: Any = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        complement_optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Sets the losses and optimizers; see `keras.Model.compile`.

        Args:
            optimizer: For the loss.
            loss: The loss.
            complement_optimizer: For the complement entropy. Defaults to `None`: a
                twin of `optimizer`, but without its average of the weights.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, **kwargs)
        if complement_optimizer is None:
            # One average of the weights is enough: the other would overwrite it.
            config = {**self.optimizer.get_config(), "use_ema": False}
            complement_optimizer = type(self.optimizer).from_config(config)
        complement_optimizer = keras.optimizers.get(complement_optimizer)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(
            complement_optimizer, scaled
        ):
            complement_optimizer = scaled(complement_optimizer)
        # Here, so that a checkpoint finds its variables.
        complement_optimizer.build(self.model.trainable_variables)
        self.complement_optimizer = complement_optimizer
        self._rate_ratio = None
        if _has_own_rate(self.optimizer) and _has_own_rate(complement_optimizer):
            self._rate_ratio = _rate(complement_optimizer) / _rate(self.optimizer)

    def save_weights(
        self, filepath: Any, overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Saves the wrapped model's weights, and apart the second optimizer's state.

        The file loads into the wrapped model alone, too, which has no second optimizer;
        `keras.callbacks.BackupAndRestore` continues from it.
        """
        super().save_weights(filepath, overwrite=overwrite, **kwargs)
        if self.complement_optimizer is not None:
            with h5py.File(filepath, "a") as file:
                group = file.create_group(COMPLEMENT)
                for i, variable in enumerate(self.complement_optimizer.variables):
                    group[str(i)] = keras.ops.convert_to_numpy(variable.value)

    def load_weights(self, filepath: Any, **kwargs: Any) -> None:
        """Loads what `save_weights` saved, or weights of the wrapped model alone."""
        super().load_weights(filepath, **kwargs)
        if self.complement_optimizer is not None and h5py.is_hdf5(filepath):
            with h5py.File(filepath, "r") as file:
                group = file.get(COMPLEMENT, {})
                for i, variable in enumerate(self.complement_optimizer.variables):
                    if str(i) in group:
                        variable.assign(group[str(i)][()])

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The model's, and the state of the second optimizer."""
        # Stateless backends carry from step to step what is in these lists.
        variables = super().non_trainable_variables
        if self.complement_optimizer is None:
            return variables
        return variables + self.complement_optimizer.variables

    def train_step(self, *args: Any) -> Any:
        """Trains on the batch as Keras does, then on the complement entropy."""
        result = super().train_step(*args)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(args[-1])
        complement = ComplementEntropy(
            from_logits=self.classifier.from_logits, reduction=reduction_of(self.loss)
        )
        classes = classes_of(y, self.num_classes)

        def value() -> Tensor:
            if self._rate_ratio is not None:
                self.complement_optimizer.learning_rate = (
                    self._rate_ratio * self.optimizer.learning_rate
                )
            (y_pred,) = tree.flatten(self(x, training=True))
            value = complement(classes, y_pred, sample_weight) / (self.num_classes - 1)
            for loss in self.losses:
                value += self._aggregate_additional_loss(loss)
            return value

        return backend.second_update(self, self.complement_optimizer, value, result)


def _has_own_rate(optimizer: keras.optimizers.Optimizer) -> bool:
    # Of a schedule the optimizer has a value, not a variable.
    return isinstance(optimizer.learning_rate, keras.Variable)


def _rate(optimizer: keras.optimizers.Optimizer) -> float:
    # A variable of a `tf.distribute` strategy is no number to `float`.
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))

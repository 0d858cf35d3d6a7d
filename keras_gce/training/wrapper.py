"""A model that trains another one, and stands for it elsewhere."""

import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops, tree

from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError, faq

__all__ = ["Wrapper", "classes_of", "is_distribution", "one_tensor", "reduction_of"]


class Wrapper(keras.Model):
    """Trains the model that it wraps, and stands for it elsewhere."""

    # What it does, for the names of wrapped models.
    NAME: ClassVar[str]
    # `Classifier` looks for it.
    wraps_model = True

    def __init__(self, model: keras.Model, name: str | None = None) -> None:
        # Refuses several inputs or outputs, and what is not built.
        classifier = Classifier(model)
        num_classes, whole = classifier.num_classes, classifier.takes_whole_numbers
        super().__init__(
            name=name or f"{self.NAME}_{model.name}", dtype=model.dtype_policy
        )
        self.model = model
        self.num_classes = num_classes
        self._takes_whole_numbers = whole
        self.built = True
        # Whether `fit` looks at its first batch.
        self.looks = True

    @property
    def classifier(self) -> Classifier:
        """The `Classifier` of the wrapped model, as it is compiled now."""
        return Classifier(self.model)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the wrapped model."""
        if self._takes_whole_numbers:
            (images,) = tree.flatten(inputs)
            return self.classifier.outputs(images, training)
        return self.model(inputs, training=training)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        *,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compiles this model and the wrapped one; see `keras.Model.compile`."""
        super().compile(optimizer, loss, metrics=metrics, **kwargs)
        # Saved with the wrapped model, whose training can then be continued, and
        # which an attack through the training loss can be asked about.
        named = all(isinstance(metric, str) for metric in tree.flatten(metrics))
        self.model.compile(self.optimizer, loss, metrics=metrics if named else None)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the wrapped model; see `keras.Model.save`."""
        self.model.save(filepath, overwrite=overwrite, **kwargs)

    def save_weights(
        self, filepath: Any, overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Saves the wrapped model's weights, as `save` saves the wrapped model."""
        self.model.save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath: Any, **kwargs: Any) -> None:
        """Loads weights of the wrapped model; see `keras.Model.load_weights`."""
        self.model.load_weights(filepath, **kwargs)

    def save_state(self, filepath: Any) -> None:
        """Saves all that a training continues from: optimizers, and the weights.

        Args:
            filepath: Path of the file, which ends in `.weights.h5`.
        """
        super().save_weights(filepath)

    def load_state(self, filepath: Any) -> None:
        """Loads what `save_state` saved."""
        super().load_weights(filepath)

    def export(self, filepath: Any, **kwargs: Any) -> Any:
        """Exports the wrapped model; see `keras.Model.export`."""
        return self.model.export(filepath, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the wrapped model and the name."""
        model = keras.saving.serialize_keras_object(self.model)
        return {"model": model, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Wrapper":
        """Makes a wrapper again of what `get_config` returned."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value)
                for name, value in config.items()
            }
        )

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains; see `keras.Model.fit`.

        It looks at the first batch before it trains, and warns where accuracy has
        stayed at chance.

        Raises:
            InputError: If the first batch is not what `look` takes.
        """
        if self.looks:
            x = self._look_at_first(x, y)
        history = super().fit(x, y, *args, **kwargs)
        found = {name: values[-1] for name, values in history.history.items() if values}
        self.warn_at_chance(found)
        return history

    def look(self, x: Any, y: Any) -> None:
        """Refuses a batch that can't be trained on; `fit` asks it of its first one.

        Args:
            x: Images of shape `(N, ...)`.
            y: Their classes: integers, one-hot, or a distribution over the classes.

        Raises:
            InputError: If `x` or `y` holds several tensors, or labels are no classes.
        """
        one_tensor("x", x)
        if y is None:
            raise InputError("`y` must be given: a batch has no labels. Received: None")
        labels = keras.ops.convert_to_numpy(one_tensor("y", y))
        if is_distribution(y, self.num_classes) and not self.classifier.one_output:
            sums = labels.astype("float64").sum(-1)
            if not (labels.min() >= 0 and np.allclose(sums, 1, atol=1e-2)):
                raise InputError(
                    "`y` must be distributions over the classes, each of sum 1. "
                    f"Received: sums from {sums.min():g} to {sums.max():g}"
                )
            return
        wrong = (labels < 0) | (labels >= self.num_classes) | (labels != labels // 1)
        if labels.size != len(labels) or wrong.any():
            seen = (
                labels[wrong][0] if wrong.any() else f"labels of shape {labels.shape}"
            )
            raise InputError(
                f"`y` must hold integers in [0, {self.num_classes}), the classes of "
                f"the model, or a distribution over them. Received: {seen}"
            )

    def _look_at_first(self, x: Any, y: Any) -> Any:
        """Looks at the first batch of what `fit` is given, and gives it back whole."""
        if y is not None:  # arrays
            some = slice(None, 1024)
            self.look(*(tree.map_structure(lambda a: a[some], one) for one in (x, y)))
            return x
        batches = iter(() if x is None else x)
        first = next(batches, None)
        if first is not None:
            images, labels, _ = keras.utils.unpack_x_y_sample_weight(first)
            self.look(images, labels)
        # A generator has given its first batch away; a Dataset, a PyDataset and a
        # DataLoader begin anew.
        return _again(first, batches) if batches is x else x

    def warn_at_chance(self, logs: dict[str, float]) -> None:
        """Warns where a training has ended at chance; `fit` does.

        Args:
            logs: Dict of the metrics of the last epoch.
        """
        chance = 1 / self.num_classes
        # The share of the greatest class may be somewhat above 1 / K.
        most = chance + min(0.05 * (1 - chance), 0.5 * chance)
        for name, value in logs.items():
            if name.endswith("accuracy") and not name.startswith("val_"):
                if value < most:
                    warnings.warn(
                        f"Training has stayed at chance: {name} {value:.1%} of "
                        f"{self.num_classes} classes. {self._advice}"
                        + faq("training-stays-at-chance"),
                        stacklevel=3,
                    )
                break

    @property
    def _advice(self) -> str:
        return "Give a smaller learning rate"


def one_tensor(name: str, structure: Any) -> Tensor:
    """Returns the one tensor of a structure."""
    tensors = tree.flatten(structure)
    if len(tensors) != 1:
        raise InputError(
            f"`{name}` must hold one tensor. Received: {name} with {len(tensors)}"
        )
    return tensors[0]


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
    yield from rest


def is_distribution(y: Any, num_classes: int) -> bool:
    """Whether labels have a column for each class."""
    shape = ops.convert_to_tensor(one_tensor("y", y)).shape
    return len(shape) == 2 and shape[-1] == num_classes


def classes_of(y: Any, num_classes: int) -> Tensor:
    """Integer labels of shape (N,) from any form that Keras's losses take."""
    y = ops.convert_to_tensor(one_tensor("y", y))
    if is_distribution(y, num_classes):
        y = ops.argmax(y, -1)
    elif len(y.shape) == 2:
        y = y[:, 0]
    return ops.cast(y, "int32")


def reduction_of(loss: Any) -> str:
    """Returns how a compiled loss is reduced; a name or a function as by default."""
    for one in tree.flatten(loss):
        if isinstance(one, keras.losses.Loss) and one.reduction is not None:
            return one.reduction
    return "sum_over_batch_size"

"""`Classifier`: what attacks and evaluation see of a Keras model, found out once."""

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_gce import backend
from keras_gce.checks import Tensor, check_images, check_labels, is_one_hot_shape
from keras_gce.classifier.appearance import check_opaque, check_unusual, check_whole
from keras_gce.classifier.ending import as_logits, ending_of, output_spec, width_of
from keras_gce.classifier.loss import Identity, TrainingLoss
from keras_gce.classifier.predictions import batches, is_right
from keras_gce.classifier.structure import data_format_of, structure_of
from keras_gce.errors import InputError, one_line
from keras_gce.fingerprint import fingerprint
from keras_gce.per_feature import Bounds

__all__ = ["Classifier", "logits_of", "unwrap"]

# Images on which an output is looked at that can't be seen through.
LOOKED_AT = 100


class Classifier:
    """A Keras model as attacks, training and evaluation see it.

    It is made where a model enters, and answers from then on what the model ends in,
    how many classes it has, and which loss it was compiled with. It keeps no copy of
    the weights: they are read at every call. Nothing in the model is changed.

    Functional and sequential models may end in logits or in softmax, whatever function
    it is (of Keras, `tf.nn`, `jax.nn` or `keras.ops`) and wherever at the end it sits;
    what goes into it is taken, not its logarithm, since float32 probabilities of 0 and
    1 have no gradient and would hide weakness from an attack. One output, a logit or a
    sigmoid, is two classes with the logits [0, z]. Inside a subclassed model nothing
    can be seen: its output is taken as logits, and refused by `check` where it looks
    like probabilities. An integer `Input` gets float images past its cast.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    >>> classifier = Classifier(model)
    >>> classifier.num_classes, classifier.logits(np.zeros((4, 2), "float32")).shape
    (2, TensorShape([4, 2]))

    Args:
        model: A built `keras.Model` with one input and one output, of shape `(N, K)`
            with K >= 2, or `(N, 1)` or `(N,)`; the output may stand in a dict or a
            list. Of one that wraps another, such as `AdversarialModel`, the wrapped
            one is meant.

    Attributes:
        model: The `keras.Model`, unwrapped.
        from_logits: Whether the model's own output is logits rather than
            probabilities.
        compiled_loss: What the model was compiled with as its loss, or `None`.
        one_hot_labels: Whether the labels that the user has are one-hot, which a
            training loss of the user's own then gets too. Set by `check`.
        image_shape: The shape of one image; `None`: not known yet. Set by `check`.
        state: What the model is made of and compiled with, to be compared.
        nan_gradients: Whether input gradients are known to be NaN somewhere; attacks
            then look beside those places. Set by `evaluate`.

    Raises:
        InputError: If `model` is no Keras model, is not built, has several inputs or
            outputs, or ends in what hides its logits.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = unwrap(model)
        self.state, self._ending = ending_of(self.model)
        self._output = self._ending.output
        # A model of Keras has none before its first `compile`.
        self.compiled_loss = getattr(self.model, "loss", None)
        self._loss = TrainingLoss(self.compiled_loss, self.from_logits)
        self.one_hot_labels = self.nan_gradients = False
        self.image_shape = self.input_shape

    @classmethod
    def of(cls, model: "keras.Model | Classifier") -> "Classifier":
        """Returns the classifier of a model; a classifier is its own."""
        return model if isinstance(model, cls) else cls(model)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def from_logits(self) -> bool:
        """Whether the model's own output is logits rather than probabilities."""
        return self._ending.kind == "logits"

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one image, `None` where a size is open; `None`: not known."""
        return self._ending.input_shape

    @property
    def one_output(self) -> bool:
        """Whether the model has one output, for two classes."""
        return self._width == 1

    @property
    def takes_whole_numbers(self) -> bool:
        """Whether the model has an integer `Input`, which would round images."""
        return self._ending.whole is not None

    @property
    def num_classes(self) -> int:
        """The number of classes, K; 2 of a model with one output."""
        return max(self._width, 2)

    @property
    def _width(self) -> int:
        """How many numbers the model's output has for an example."""
        if self._output is None:
            self._output = output_spec(self.model, self._ending.input_shape)
        return width_of(self.model, self._output)

    @functools.cached_property
    def data_format(self) -> str:
        """Where images have their channels: "channels_first" or "channels_last"."""
        return data_format_of(self.model)

    def logits(self, x: Tensor, training: bool | None = False) -> Tensor:
        """Computes logits, in eager or in compiled code.

        Args:
            x: Images of shape `(N, ...)`.
            training: Whether the model runs in training mode. Defaults to `False`.

        Returns:
            A float32 tensor of shape `(N, K)`.
        """
        return as_logits(tree.flatten(self._run(self._ending.before, x, training))[0])

    def outputs(self, x: Tensor, training: bool | None = False) -> Any:
        """Computes the model's own output, past the cast of an integer `Input`."""
        return self._run(self._ending.whole, x, training)

    def _run(self, part: Any, x: Tensor, training: bool | None) -> Any:
        with backend.own_draws(self.model):
            return (part or self.model)(x, training=training)

    def log_probabilities(self, output: Any) -> Tensor:
        """Returns the logarithms of the probabilities that the model's output means.

        Args:
            output: What the model returned: logits or probabilities, in its structure.

        Returns:
            A float32 tensor of shape `(N, K)`.
        """
        value = ops.cast(tree.flatten(output)[0], "float32")
        if self.from_logits:
            return ops.log_softmax(as_logits(value))
        if self.one_output:
            value = ops.reshape(value, (-1, 1))
            value = ops.concatenate([1 - value, value], axis=-1)
        return ops.log(ops.maximum(value, 1e-12))

    def predict(self, x: np.ndarray, batch_size: int = 500) -> np.ndarray:
        """Returns the logits of checked images as an array of shape `(N, K)`.

        Raises:
            InputError: If the model fails on the images.
        """
        parts = []
        for part in batches(x, batch_size):
            try:
                z = backend.run_compiled(self, "logits", Classifier.logits, (part,), {})
            except InputError:
                raise
            except Exception as error:  # Whatever its layers raise.
                raise InputError(
                    f"`model` must run on images of shape {np.shape(part)}. Received: "
                    f"model={self.name}, which fails with {one_line(error)}"
                ) from error
            parts.append(np.asarray(z))
        return np.concatenate(parts or [np.zeros((0, self.num_classes), "float32")])

    def right(self, x: np.ndarray, y: np.ndarray, batch_size: int = 500) -> np.ndarray:
        """Returns a boolean array: which images get their class; never one of NaN."""
        return is_right(self.predict(x, batch_size), y)

    def check(self, x: Any, y: Any, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels as float32 and int32, or says what is wrong.

        Args:
            x: Images of shape `(N, ...)` within `bounds`.
            y: Their classes: integers or whole floats of shape `(N,)` or `(N, 1)`, or
                one-hot of shape `(N, K)`.
            bounds: The least and the greatest value of a pixel.

        Raises:
            InputError: If images or labels are not as described, or if it turns out on
                these images that the model's output is no logits.
        """
        x = check_images(x, bounds, self.input_shape)
        self.image_shape = x.shape[1:]
        if self._output is None:
            self._output = output_spec(self.model, x.shape[1:])
        self.one_hot_labels = is_one_hot_shape(y, len(x), self.num_classes)
        y = check_labels(y, len(x), self.num_classes)
        self._check_ending(x[:LOOKED_AT])
        return x, y

    def _check_ending(self, x: np.ndarray) -> None:
        """Refuses an output that doesn't mean what its ending was taken for."""
        ending = self._ending
        if ending.opaque:
            z, one = self.predict(x), self.one_output
            check_opaque(self.name, z, one, self._loss.wants_logits if one else None)
        if ending.checked:
            return
        if ending.whole is not None:
            check_whole(self.name, x, self.predict)
        if ending.unusual:
            output = ops.convert_to_numpy(self.log_probabilities(self.outputs(x)))
            check_unusual(self.name, self.predict(x), output)
        ending.checked = True

    @property
    def loss_missing(self) -> str | None:
        """Why there is no training loss, in words; `None` where there is one."""
        return self._loss.missing

    def loss(self, y: Tensor, logits: Tensor) -> Tensor:
        """Computes the loss that the model was compiled with, from logits.

        Args:
            y: Integers of shape `(N,)`.
            logits: Tensor of shape `(N, K)`.

        Returns:
            What the loss returns: one value an example, or their mean.

        Raises:
            InputError: If the model is not compiled with one loss.
        """
        return self._loss.values(self.one_output, self.one_hot_labels)(y, logits)

    def check_loss(self) -> None:
        """Refuses a training loss that can't be had for this many classes.

        Raises:
            InputError: If the model is not compiled with one loss, or that one fails.
        """
        self._loss.check(self.one_output, self.one_hot_labels, self.num_classes)

    @property
    def is_crossentropy(self) -> bool:
        """Whether the training loss is cross-entropy on the logits, nothing else."""
        unseen = self._output is None and self.input_shape is None
        return self._loss.is_crossentropy(None if unseen else self.one_output)

    def trace_key(self, loss: Any) -> Hashable:
        """What a compiled function of the model and a loss of that name depends on."""
        of_training = (self._loss.key, self.one_hot_labels)
        name = loss if loss is None or isinstance(loss, str) else Identity(loss)
        return (name, of_training if loss == "training" else None, self.nan_gradients)

    def fingerprint(self) -> str:
        """Returns a digest of the layers, the weights, and the loss by its settings."""
        structure = structure_of(self.model)
        return fingerprint(*self.model.get_weights(), self._loss.loss, structure)

    def weakly(self) -> "Callable[[], Classifier]":
        """Returns a function that gives this one back, and keeps no model alive."""
        rest = {key: value for key, value in vars(self).items() if key != "model"}
        reference = weakref.ref(self.model)

        def again() -> Classifier:
            twin = object.__new__(Classifier)
            vars(twin).update(rest, model=reference())
            return twin

        return again


def logits_of(
    model: keras.Model | Classifier, training: bool | None = False
) -> Callable[[Tensor], Tensor]:
    """Returns a function from images to the logits of `model`.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(3, activation="softmax")]
    ... )
    >>> x = np.ones((4, 2), "float32")
    >>> np.allclose(keras.ops.softmax(logits_of(model)(x)), model(x))
    True

    Args:
        model: A `keras.Model`, or a `Classifier`; see `Classifier` for what is taken.
        training: Whether the model runs in training mode rather than in inference
            mode. Defaults to `False`.

    Returns:
        A callable: images of shape `(N, ...)` -> float32 logits of shape `(N, K)`.

    Raises:
        InputError: If logits can't be had from `model`; see `Classifier`.
    """
    classifier = Classifier.of(model)
    return lambda x: classifier.logits(x, training=training)


def unwrap(model: keras.Model) -> keras.Model:
    """Returns the model inside an `AdversarialModel` and its like, or the model."""
    # An attribute of this package's wrappers; a model of Keras has none.
    return model.model if getattr(model, "wraps_model", False) else model

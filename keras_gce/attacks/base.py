"""What attacks share, `Attack` and its children, and the checks at their edge."""

import dataclasses
import math
import numbers
import random
from typing import Any, ClassVar

import keras
import numpy as np

from keras_gce.attacks.logits import check_logits, unwrap
from keras_gce.attacks.objectives import check_loss
from keras_gce.errors import InputError, faq

__all__ = ["Attack", "BallAttack", "LossAttack", "serializable"]

NORMS = ("linf", "l2")


def serializable(cls):
    """Lets Keras serialize a class of settings, a dataclass, by its fields."""

    def get_config(self):
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name) for field in fields}

    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        return cls(**{name: deserialize(value) for name, value in config.items()})

    cls.get_config, cls.from_config = get_config, classmethod(from_config)
    return keras.saving.register_keras_serializable(package="keras_gce")(cls)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """Base of the attacks.

    An attack is its settings: immutable, its `repr` shows them all. It is called
    as `x_adv = attack(model, x, y)`.

    Args:
        bounds: The least and the greatest value of a pixel. Defaults to (0.0, 1.0).
        targeted: Whether `y` holds target classes, towards which the attack then
            moves. Defaults to `False`.
        seed: An integer makes what is random in the attack reproducible. Defaults to
            `None`: drawn anew at each call.

    Raises:
        InputError: If an argument is not as described.
    """

    bounds: tuple = (0.0, 1.0)
    targeted: bool = False
    seed: int | None = None

    engine: ClassVar[str] = "keras_gce"

    def __post_init__(self):
        try:
            low, high = (float(bound) for bound in self.bounds)
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(
                "`bounds` must be two finite numbers, the lower one first. "
                f"Received: bounds={self.bounds}"
            )
        object.__setattr__(self, "bounds", (low, high))
        if self.seed is not None:
            check_integer("seed", self.seed, least=0)

    @property
    def name(self):
        """The attack's name in reports."""
        return type(self).__name__

    def __call__(self, model, x, y):
        """Perturbs the images `x` so that `model` errs.

        Args:
            model: A built `keras.Model`; see `logits_of`. It is attacked in inference
                mode and left as it is.
            x: Images of shape `(N, ...)` within `bounds`.
            y: Their true classes, or the targets if `targeted`: integers of shape
                `(N,)`, or one-hot of shape `(N, K)`.

        Returns:
            The adversarial images, a float32 tensor of `x`'s shape, within `bounds`.

        Raises:
            InputError: If images lie outside `bounds` or are NaN, labels are not
                classes of the model, shapes do not match, or the attack's loss is
                "training" and the model is not compiled.
        """
        x, model = check_images(x, self.bounds), unwrap(model)
        check_logits(model, x)
        y = check_labels(y, x, model)
        return self.run(model, x, y)

    def run(self, model, x, y, seed=None, stop_early=False):
        """Perturbs checked images. With `stop_early` an example ends at success."""
        raise NotImplementedError

    def draw_seed(self, seed=None):
        """Returns the seed of a call: that given, the attack's own, or a new one."""
        if seed is not None:
            return seed
        return random.getrandbits(31) if self.seed is None else self.seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class BallAttack(Attack):
    """Base of the attacks that keep within a ball around the image.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. 0 returns the images.
            For the settings not listed here see `Attack`.
        norm: `"linf"` or `"l2"`, the norm of the ball. Defaults to `"linf"`.

    Raises:
        InputError: If an argument is not as described.
    """

    eps: float
    norm: str = "linf"

    def __post_init__(self):
        super().__post_init__()
        check_number("eps", self.eps, least=0)
        if self.norm not in NORMS:
            raise InputError(
                f"`norm` must be one of {', '.join(NORMS)}. Received: norm={self.norm}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossAttack(BallAttack):
    """Base of the attacks in a ball that ascend a loss of the caller's choice.

    Args:
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `BallAttack`.
        loss: What the attack ascends: `"crossentropy"` on the logits, `"training"`
            (the loss the model was compiled with), `"margin"`, `"dlr"`, or a callable
            `(y, logits)` -> one value an example; with `targeted`, what it descends.
            Defaults to `"crossentropy"`.
        jit_compile: Whether to compile with XLA; `"auto"`: on a GPU. Defaults to
            `"auto"`.

    Raises:
        InputError: If an argument is not as described.
    """

    loss: Any = "crossentropy"
    jit_compile: Any = "auto"

    def __post_init__(self):
        super().__post_init__()
        check_loss(self.loss)

    def with_loss(self, loss):
        """Returns the same attack, ascending `loss`."""
        return dataclasses.replace(self, loss=loss)


def check_number(name, value, least):
    """Refuses what is no finite number >= `least`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or value < least
    ):
        raise InputError(
            f"`{name}` must be a finite number >= {least}. Received: {name}={value!r}"
        )


def check_integer(name, value, least):
    """Refuses what is no integer >= `least`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < least
    ):
        raise InputError(
            f"`{name}` must be an integer >= {least}. Received: {name}={value!r}"
        )


def check_images(x, bounds):
    """Returns the images as float32, or says what is wrong with them."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or x.ndim < 2 or 0 in x.shape:
        raise InputError(
            "`x` must hold at least one image, as numbers of shape (N, ...). "
            f"Received: x.shape={x.shape}, x.dtype={x.dtype}"
        )
    x = x.astype("float32", copy=False)
    low, high = float(x.min()), float(x.max())
    if not (low >= bounds[0] and high <= bounds[1]):
        raise InputError(
            f"`x` must lie within {bounds}, without NaN. "
            f"Received: values from {low} to {high}{faq('pixels-outside-the-bounds')}"
        )
    return x


def check_labels(y, x, model):
    """Returns the labels as int32 of shape (N,), or says what is wrong with them."""
    y, num_classes = np.asarray(y), model.output_shape[-1]
    if y.shape == (len(x), num_classes):
        if not (((y == 0) | (y == 1)).all() and (y.sum(-1) == 1).all()):
            raise InputError(
                "`y` must be one-hot (a single 1 for each example, the rest 0) where "
                f"it has two dimensions. Received: y={y[:3]}"
            )
        y = y.argmax(-1)
    elif y.shape == (len(x), 1):
        y = y[:, 0]
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise InputError(
            f"`y` must hold {len(x)} integers, or be one-hot of shape "
            f"({len(x)}, {num_classes}). "
            f"Received: y.shape={y.shape}, y.dtype={y.dtype}"
        )
    if y.min() < 0 or y.max() >= num_classes:
        raise InputError(
            f"`y` must lie in [0, {num_classes}), the classes of the model. "
            f"Received: labels from {y.min()} to {y.max()}"
        )
    return y.astype("int32")

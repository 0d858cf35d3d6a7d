"""What attacks share: `Attack`, the protocol."""

import dataclasses
import random
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, cast

import keras
import numpy as np

from keras_gce import backend, names
from keras_gce.attacks.geometry import Geometry
from keras_gce.checks import Tensor, check_seed
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import Bounds, Eps, PerFeature, check_bounds

__all__ = ["GRADIENT", "Attack"]

# What a step along the gradient costs, in forward passes: on a CPU 4 of LeNet-5, 2 of
# ResNet-20.
GRADIENT = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """Base of the attacks, and all that others may ask of one.

    An attack is its settings: immutable, its `repr` shows them all. It is called
    as `x_adv = attack(model, x, y)`. A new one has a `run`, and overrides those of the
    other methods and attributes whose answer is not its own.

    Args:
        bounds: The least and the greatest value of a pixel, each a number or an array
            that broadcasts to an image, as of images normalised by channel. Defaults to
            (0.0, 1.0).
        targeted: Whether `y` holds target classes, towards which the attack then
            moves. Defaults to `False`.
        seed: An integer in [0, 2**31) makes what is random in the attack reproducible.
            Defaults to `None`: drawn anew at each call.

    Attributes:
        engine: The library that runs it.
        eps: Radius of its ball; `None` of an attack without one.
        norm: The norm of its ball; `None` of an attack without one.
        norms: The norms that it knows, where there is a choice.
        loss: What it ascends; `None` of an attack with an objective of its own.
        unavailable: Why it can't run here, in words; `None` where it can.
        needs_gradient: Whether it asks the model for gradients.
        trains: Whether `perturb` runs inside a compiled train step.
        random_start: Whether it starts at a random point.
        ends_at_success: Whether `stop_early` saves the rest of an example's work.

    Raises:
        InputError: If an argument is not as described.
    """

    bounds: Bounds = (0.0, 1.0)
    targeted: bool = False
    seed: int | None = None

    # Without annotations, which would give a child's fields their places.
    engine = "keras_gce"
    eps = cast(Eps | None, None)
    norm = cast(str | None, None)
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    loss = cast(Any, None)
    unavailable = cast(str | None, None)
    needs_gradient = True
    trains = False
    random_start = cast(bool | str, False)
    ends_at_success = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", check_bounds(self.bounds))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # In which a sum could overflow.
                object.__setattr__(self, field.name, value.item())
        if self.seed is not None:
            check_seed(self.seed)
        if self.norm is not None and self.norm not in list(self.norms):
            text = ""
            if "l1" not in self.norms:
                others = (names.ATTACKS[name] for name in names.L1_ATTACKS)
                text = f" for {self.name}; l1 is known to {', '.join(others)}"
            raise InputError(
                f"`norm` must be one of {', '.join(self.norms)}{text}. "
                f"Received: norm={self.norm}"
            )

    @property
    def name(self) -> str:
        """The attack's name in reports."""
        return type(self).__name__

    def ensemble(self, classifier: Classifier) -> str | None:
        """Returns the name of the ensemble that it is on a model; `None`: of none."""
        return None

    def rows(self, classifier: Classifier) -> "tuple[Attack, ...]":
        """Returns what it is made of on a model, in order: itself, or an ensemble's."""
        return (self,)

    def __call__(self, model: keras.Model | Classifier, x: Any, y: Any) -> Tensor:
        """Perturbs the images `x` so that `model` errs.

        Args:
            model: A built `keras.Model`; see `keras_gce.classifier.Classifier`. It is
                attacked in inference mode and left as it is.
            x: Images of shape `(N, ...)` within `bounds`.
            y: Their true classes, or the targets if `targeted`: integers (or whole
                floats) of shape `(N,)` or `(N, 1)`, or one-hot of shape `(N, K)`.

        Returns:
            The adversarial images, a float32 tensor of `x`'s shape, within `bounds`.

        Raises:
            InputError: If images lie outside `bounds` or are NaN, labels are not
                classes of the model, shapes do not match, or the attack can't run on
                this model: for one, its loss is "training" and the model not compiled.
        """
        classifier = Classifier.of(model)
        x, y = classifier.check(x, y, self.bounds)
        self.check(classifier, x, y)
        return backend.on_host(self.run(classifier, x, y))

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses what the attack can't run on, before any work is done.

        Args:
            classifier: The `Classifier` of the model.
            x: Checked images of shape `(N, ...)`.
            y: Their classes, or targets, of shape `(N,)`.

        Raises:
            InputError: If it can't run on that.
        """

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images. With `stop_early` an example ends at success."""
        raise NotImplementedError

    def counted(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Perturbs as `run`; returns each image's forward passes too, if counted."""
        return self.run(classifier, x, y, seed=seed, stop_early=stop_early), None

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image it can't break.

        A bar weighs attacks by it. Defaults to those of PGD with 40 steps.

        Args:
            features: How many numbers an image has.
            num_classes: How many classes the model has.
        """
        return 40 * GRADIENT

    def targets(
        self, classifier: Classifier, x: np.ndarray, y: np.ndarray, seed: int
    ) -> np.ndarray | None:
        """Returns the class that each example is moved to; `None`: any wrong one."""
        return None

    def with_loss(self, loss: Any) -> "Attack":
        """Returns the same attack, ascending `loss` where it ascends one of choice."""
        return self

    def with_bounds(self, bounds: Bounds) -> "Attack":
        """Returns the same attack within other bounds."""
        return dataclasses.replace(self, bounds=bounds)

    @property
    def shares(self) -> PerFeature | None:
        """The features' eps over the greatest one; `None`: all have the same."""
        return None

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """What tells its geometry from others."""
        return self.norm, self.bounds, self.shares

    @property
    def geometry(self) -> Geometry:
        """The geometry of its balls, for code that is compiled."""
        return Geometry(str(self.norm), self.bounds, self.shares)

    @property
    def ball(self) -> dict[str, Any]:
        """Dict of the settings that another attack in the same ball has too."""
        return {n: getattr(self, n) for n in ("eps", "norm", "bounds", "seed")}

    def draw_seed(self, seed: int | None = None) -> int:
        """Returns the seed of a call: that given, the attack's own, or a new one."""
        if seed is not None:
            return seed
        return random.getrandbits(31) if self.seed is None else self.seed

    def compiled(
        self,
        classifier: Classifier,
        fn: Callable[..., Any],
        batch: tuple[Tensor, ...],
        settings: dict[str, Any],
        key: Hashable = (),
        jit_compile: bool | str = False,
    ) -> Any:
        """Runs `fn(classifier, *batch, **settings)`, compiled once a model and attack.

        Args:
            classifier: The `Classifier` of the model.
            fn: The function, in the attack's own words.
            batch: Tuple of arrays with the examples along their first axes.
            settings: Dict of the numbers that it takes: whatever they are, calls share
                one trace. An integer `"seed"` becomes what `TensorSeed` takes.
            key: Hashable; what else `fn` depends on, beside the class, the bounds, the
                norm, the loss and whether it is targeted.
            jit_compile: `True`, `False`, or `"auto"`: XLA on a GPU. Defaults to
                `False`.

        Returns:
            What `fn` returns.
        """
        if "seed" in settings:
            settings = {**settings, "seed": np.array([settings["seed"], 0], "int32")}
        return backend.run_compiled(
            classifier,
            (
                type(self),
                self.kind,
                self.targeted,
                classifier.trace_key(self.loss),
                key,
            ),
            fn,
            batch,
            settings,
            jit_compile=jit_compile,
        )

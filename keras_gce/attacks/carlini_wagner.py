"""Carlini and Wagner's attack: the least l2 distortion that reaches the goal."""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.batch import choose
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.objectives import gradient_of, margin, succeeds
from keras_gce.attacks.serializable import serializable
from keras_gce.attacks.targets import TargetAttack
from keras_gce.checks import State, Tensor, check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import limits_of

__all__ = ["CarliniWagnerL2"]


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2(EOTAttack, TargetAttack):
    """Carlini and Wagner's l2 attack: looks for the least distorted success.

    For each example it minimises, by Adam in a variable whose tanh is the image,

        ||x' - x||^2 + c f(x'),    f = max(max_{i != t} z_i - z_t + confidence, 0)

    with distances in units of the bounds' range, so that it does the same whatever the
    unit of the pixels. t is the target; untargeted,
    f = max(z_y - max_{i != y} z_i + confidence, 0).
    A binary search for each example finds c: divided after a success, multiplied by
    10 after a failure until the first success. Within a search step an example ends
    where its objective fell by less than 0.01% over a tenth of the iterations.

    Example:

    >>> CarliniWagnerL2(target=None, max_iterations=100).binary_search_steps
    9

    Args:
        target: `"random"`, `"least_likely"` or a class, as in `TargetAttack`; `None`:
            untargeted; `"best"`: all wrong classes in turn, of which the least
            distorted success counts; `"worst"`: all in turn, of which the most
            distorted counts, and which fails where one fails. Defaults to `"random"`.
            For the settings not listed here see `Attack`.
        confidence: By how much the logits must lead, >= 0. Defaults to 0.0.
        binary_search_steps: Values of c that are tried, >= 1. Defaults to 9.
        max_iterations: Steps of Adam for each of them, >= 1. Defaults to 1000.
        initial_const: The first c, > 0. Defaults to 1e-3.
        learning_rate: Adam's, > 0. Defaults to 5e-3.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks",
        S&P 2017 (arXiv 1608.04644), sections V and VI.
    """

    target: Any = "random"
    confidence: float = 0.0
    binary_search_steps: int = 9
    max_iterations: int = 1000
    initial_const: float = 1e-3
    learning_rate: float = 5e-3

    ends_at_success = False

    TARGETS: ClassVar[tuple[str | None, ...]] = (
        "random",
        "least_likely",
        "best",
        "worst",
        None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("confidence", self.confidence, least=0)
        check_integer("binary_search_steps", self.binary_search_steps, least=1)
        check_integer("max_iterations", self.max_iterations, least=1)
        for name in ("initial_const", "learning_rate"):
            value = getattr(self, name)
            check_number(name, value, least=0)
            if value == 0:
                raise InputError(f"`{name}` must be > 0. Received: {name}={value!r}")

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images; the least distortion is looked for in any case."""
        if not self.targeted and self.target in ("best", "worst"):
            return self._all_targets(classifier, x, y)
        targets = self.targets(classifier, x, y, self.draw_seed(seed))
        return self._minimise(classifier, x, y if targets is None else targets)[0]

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        each = self.gradient_passes * self.binary_search_steps * self.max_iterations
        return each * (num_classes - 1 if self.target in ("best", "worst") else 1)

    def _minimise(
        self, classifier: Classifier, x: np.ndarray, classes: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Returns the images and their squared distortion, inf for a failure."""
        low, high = limits_of(self.bounds)
        away = not self.targeted and self.target is None
        return self.compiled(
            classifier,
            functools.partial(_perturb, away=away),
            batch=(x, classes),
            settings={
                "confidence": np.float32(self.confidence),
                "search_steps": np.int32(self.binary_search_steps),
                "max_iterations": np.int32(self.max_iterations),
                "initial_const": np.float32(self.initial_const),
                "learning_rate": np.float32(self.learning_rate),
                "low": np.asarray(low, "float32"),
                "high": np.asarray(high, "float32"),
                **self.sampled,
            },
            key=(away, bool(self.sampled)),
        )

    def _all_targets(
        self, classifier: Classifier, x: np.ndarray, y: np.ndarray
    ) -> np.ndarray:
        num_classes, worst = classifier.num_classes, self.target == "worst"
        chosen, distortion = np.array(x), None
        for offset in range(1, num_classes):
            classes = ((y + offset) % num_classes).astype("int32")
            images, squared = map(np.asarray, self._minimise(classifier, x, classes))
            if distortion is None:
                chosen, distortion = images, squared
                continue
            better = squared > distortion if worst else squared < distortion
            by_example = better.reshape(-1, *(1 for _ in x.shape[1:]))
            chosen = np.where(by_example, images, chosen)
            distortion = np.where(better, squared, distortion)
        return chosen


def _perturb(
    classifier: Classifier,
    x: Tensor,
    classes: Tensor,
    confidence: Tensor,
    search_steps: Tensor,
    max_iterations: Tensor,
    initial_const: Tensor,
    learning_rate: Tensor,
    low: Tensor,
    high: Tensor,
    away: bool,
    eot_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, len(x.shape)))
    sign = -1.0 if away else 1.0
    middle, half, span = (low + high) / 2, (high - low) / 2, high - low
    check_every = ops.maximum(max_iterations // 10, 1)

    def image(w: Tensor) -> Tensor:
        # Rounding may leave the bounds by one unit.
        return ops.clip(middle + half * ops.tanh(w), low, high)

    def minimise(best: Tensor, best_squared: Tensor, const: Tensor) -> State:
        def step(i: Tensor, state: State) -> tuple[State, Tensor]:
            best, best_squared, found, w, m, v, x, classes, const, before = state

            def squared_of(x_adv: Tensor) -> Tensor:
                return ops.sum(ops.square((x_adv - x) / span), axis=axes)

            def values(w: Tensor) -> tuple[Tensor, Tensor]:
                x_adv = image(w)
                z = classifier.logits(x_adv)
                lead = -sign * margin(classes, z)
                value = squared_of(x_adv) + const * ops.relu(confidence - lead)
                return value, z

            gradient, value, z = gradient_of(classifier, values, w, samples=eot_samples)
            # Not from those passes: the mean of equal images is rounded.
            x_adv = image(w)
            squared, lead = squared_of(x_adv), -sign * margin(classes, z)
            gradient = ops.nan_to_num(gradient)
            success = succeeds(classes, z, targeted=not away)
            success = success & ((lead >= confidence) | ops.isnan(lead))
            better = success & (squared < best_squared)
            best = choose(better, x_adv, best)
            best_squared = ops.where(better, squared, best_squared)
            # Adam, with its usual settings.
            t = ops.cast(i + 1, "float32")
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * ops.square(gradient)
            rate = learning_rate * ops.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w = w - rate * m / (ops.sqrt(v) + 1e-8)
            checked = ops.equal((i + 1) % check_every, 0)
            done = checked & (value > 0.9999 * before)
            before = ops.where(checked, value, before)
            found = found | success
            return (
                (best, best_squared, found, w, m, v, x, classes, const, before),
                done,
            )

        # Short of the bounds, whose inverse tanh is infinite. At the 0.999999 of the
        # authors a black pixel takes most of the iterations to become grey.
        w = ops.arctanh((x - middle) / half * 0.999)
        nothing = ops.zeros_like(x)
        found = ops.zeros_like(const, dtype="bool")
        state = (best, best_squared, found, w, nothing, nothing, x, classes, const)
        before = ops.zeros_like(const) + np.inf
        return backend.while_active(
            step, (*state, before), max_iterations, num_results=3
        )

    def search(
        k: Tensor,
        lower: Tensor,
        upper: Tensor,
        const: Tensor,
        best: Tensor,
        best_squared: Tensor,
    ) -> State:
        best, best_squared, found = minimise(best, best_squared, const)
        upper = ops.where(found, ops.minimum(upper, const), upper)
        lower = ops.where(found, lower, ops.maximum(lower, const))
        const = ops.where(ops.isfinite(upper), (lower + upper) / 2, const * 10)
        return k + 1, lower, upper, const, best, best_squared

    zeros = ops.zeros_like(x[(slice(None), *(0 for _ in axes))])
    infinite = zeros + np.inf
    state = (0, zeros, infinite, zeros + initial_const, x, infinite)
    *_, best, best_squared = backend.while_loop(
        lambda k, *_: k < search_steps, search, state
    )
    return best, best_squared

"""CleverHans 4 as an engine: our vocabulary in, its own out."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_gce.attacks import MIM
from keras_gce.attacks.ball import round_down
from keras_gce.attacks.base import GRADIENT
from keras_gce.attacks.in_ball import LossAttack
from keras_gce.attacks.objectives import objective
from keras_gce.backend.compiled import functions_of
from keras_gce.checks import Tensor, check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import PerFeature
from keras_gce.seeds import seeded

__all__ = ["CleverHansAttack"]

_STEPS = {"fgsm": 1, "bim": 10, "pgd": 40, "mim": 40}

# CleverHans traces anew for every new callable and shape: under this key there are the
# one function of a model's logits, its losses by key, and the largest batch so far.
KEPT = "cleverhans"


@dataclasses.dataclass(frozen=True)
class CleverHansAttack(LossAttack):
    """An attack that CleverHans 4 runs, as an object like ours.

    CleverHans leaves the ball by a rounding error (0.30000004 for eps = 0.3); its
    results are moved back into it.

    Args:
        attack: `"fgsm"`, `"bim"`, `"pgd"` or `"mim"`. CleverHans's MIM knows
            cross-entropy only; `with_loss` gives our own for other losses.
        eps: Radius of the ball, in units of the images, >= 0. For the settings not
            listed here see `keras_gce.attacks.LossAttack`.
        step_size: Length of a step, in [0, eps]. Defaults to `None`: eps / steps, and
            for PGD 2.5 eps / steps, at most eps, as ours have it.
        steps: Number of steps, >= 1. Defaults to `None`: 1 for FGSM, 10 for BIM, 40
            for PGD and MIM.

    Raises:
        InputError: If an argument is not as described, or CleverHans is not installed.
    """

    attack: str = dataclasses.field(kw_only=False)
    step_size: float | None = dataclasses.field(default=None, kw_only=True)
    steps: int | None = dataclasses.field(default=None, kw_only=True)

    engine = "cleverhans"
    ends_at_success = False
    unavailable = (
        None
        if keras.backend.backend() == "tensorflow"
        else "CleverHans 4 attacks TensorFlow models; run it under "
        "KERAS_BACKEND=tensorflow"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack not in _STEPS:
            raise InputError(
                f"`attack` must be one of {', '.join(_STEPS)}. "
                f"Received: attack={self.attack!r}"
            )
        if any(isinstance(one, PerFeature) for one in (self.eps, *self.bounds)):
            raise InputError(
                "`eps` and `bounds` must be numbers for CleverHans; the attacks of "
                "keras_gce.attacks take arrays. "
                f"Received: eps={self.eps!r}, bounds={self.bounds}"
            )
        if self.steps is None:
            object.__setattr__(self, "steps", _STEPS[self.attack])
        check_integer("steps", self.steps, least=1)
        if self.step_size is not None:
            check_number("step_size", self.step_size, least=0)
            if self.step_size > self.eps:
                raise InputError(
                    "`step_size` must not be above `eps` in CleverHans. "
                    f"Received: step_size={self.step_size}, eps={self.eps}"
                )
        if self.attack == "mim" and self.loss != "crossentropy":
            raise InputError(
                '`loss` must be "crossentropy" for CleverHans\'s MIM, which knows no '
                f"other; use keras_gce.attacks.MIM. Received: loss={self.loss!r}"
            )
        if not self.unavailable:
            _import_attacks()

    @property
    def name(self) -> str:
        """The attack's name in reports."""
        return self.attack.upper()

    def with_loss(self, loss: Any) -> LossAttack:
        """Returns the same attack, ascending `loss`; for MIM, where need be, ours."""
        if self.attack == "mim" and loss != "crossentropy":
            shared = {
                f.name: getattr(self, f.name) for f in dataclasses.fields(LossAttack)
            }
            ours = {"step_size": self.step_size, "steps": self.steps}
            return MIM(**{**shared, **ours, "loss": loss})
        return dataclasses.replace(self, loss=loss)

    def run(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images; CleverHans takes all steps for each of them."""
        import tensorflow as tf

        pgd, mim = _import_attacks()
        functions = _functions(classifier)
        # One shape, one trace: a smaller batch is filled up with copies.
        functions["batch"] = size = max(functions["batch"], len(x))
        count, filled = len(x), np.resize(np.arange(len(x)), size)
        x, y = tf.convert_to_tensor(x[filled]), tf.convert_to_tensor(y[filled])
        eps, steps = float(self.eps), self.steps or _STEPS[self.attack]
        step_size = self.step_size
        if step_size is None:
            factor = 2.5 if self.attack == "pgd" else 1.0
            step_size = min(factor * eps / steps, eps)
        arguments = {
            "norm": np.inf if self.norm == "linf" else 2,
            "clip_min": self.bounds[0],
            "clip_max": self.bounds[1],
            "y": y,
            "targeted": self.targeted,
            "sanity_checks": False,
        }
        if self.attack == "mim":
            x_adv = mim(functions["logits"], x, eps, step_size, steps, **arguments)
        else:
            # Its random start comes from TensorFlow's global stream, the user's.
            with seeded(self.draw_seed(seed)):
                x_adv = pgd(
                    functions["logits"],
                    x,
                    eps,
                    step_size,
                    steps,
                    loss_fn=_loss(classifier, self.loss),
                    rand_init=self.attack == "pgd",
                    **arguments,
                )
        x_adv = tf.where(tf.math.is_nan(x_adv), x, x_adv)
        return self.geometry.keep(x_adv, x, round_down(eps))[:count]

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        return GRADIENT * (self.steps or _STEPS[self.attack])


def _import_attacks() -> tuple[Callable[..., Any], Callable[..., Any]]:
    try:
        from cleverhans.tf2.attacks.momentum_iterative_method import (
            momentum_iterative_method,
        )
        from cleverhans.tf2.attacks.projected_gradient_descent import (
            projected_gradient_descent,
        )
    except ImportError as error:
        raise InputError(
            "CleverHans must be installed for its attacks: pip install "
            f'"keras_gce[eval]". Received: {error}'
        ) from error
    return projected_gradient_descent, momentum_iterative_method


def _functions(classifier: Classifier) -> dict[Any, Any]:
    functions = functions_of(classifier)
    if KEPT not in functions:
        again = classifier.weakly()
        functions[KEPT] = {"logits": lambda x: again().logits(x), "batch": 0}
    return functions[KEPT]


def _loss(classifier: Classifier, loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    functions = _functions(classifier)
    key = ("loss", classifier.trace_key(loss))
    if key not in functions:
        values = objective(loss, classifier)
        functions[key] = lambda labels, logits: values(labels, logits)
    return functions[key]

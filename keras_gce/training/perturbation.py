"""Training at perturbed weights: `AWP`, and the scope where a model has them."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.variables import AutocastScope

from keras_gce import backend
from keras_gce.attacks.serializable import serializable
from keras_gce.checks import Tensor, check_number
from keras_gce.errors import InputError

__all__ = ["AWP", "perturbed", "run_perturbed"]

# Variables, and what is added to each.
Deltas = list[tuple[keras.Variable, Tensor]]

# Of this thread: each replica of a MirroredStrategy has one of its own.
_DELTAS: contextvars.ContextVar[Deltas | None] = contextvars.ContextVar(
    "keras_gce_deltas", default=None
)


@serializable
@dataclasses.dataclass(frozen=True)
class AWP:
    """Adversarial weight perturbation, for `AdversarialModel`.

    ```
    delta = gamma * |w| * g / |g|,  g = the gradient of the loss at w
    w is updated with the gradient of the loss at w + delta
    ```

    for each weight w alone, with the same adversarial images in both losses: one more
    forward and backward pass. Biases, and what has one dimension, as the scales of a
    normalisation, are not perturbed. The weights are never changed for it: the
    optimizer steps from w. Of several devices the gradient at w is of all images.

    In the extra pass the model is in training mode, with the random numbers of the
    step, and its statistics stay; those of batch normalisation are of the pass at
    w + delta, as metrics are. The loss at w is without regularizers, and they are taken
    at w, as an optimizer's weight decay is.

    Example:

    >>> AWP(0.005)
    AWP(gamma=0.005)

    Args:
        gamma: Length of the perturbation as a share of the weight's, > 0. The authors
            take 0.01, and 0.005 with TRADES.

    Raises:
        InputError: If `gamma` is not as described.

    Reference:
        Wu et al., "Adversarial Weight Perturbation Helps Robust Generalization",
        NeurIPS 2020 (arXiv 2004.05884), section 4, with one step. Their optimizer
        steps before the weights are put back: its weight decay is of w + delta.
    """

    gamma: float

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, least=0)
        if not self.gamma > 0:
            raise InputError(f"`gamma` must be > 0. Received: gamma={self.gamma!r}")

    def deltas(self, model: keras.Model, loss: Callable[[], Tensor]) -> Deltas:
        """Returns what is added to weights, in a train step.

        Args:
            model: The `keras.Model` in training.
            loss: Callable without arguments, which runs the model and returns the loss.

        Raises:
            InputError: If the model has no weight to perturb.
        """
        chosen = [
            weight
            for weight in model.trainable_variables
            if len(weight.shape) > 1 and "bias" not in weight.name
        ]
        if not chosen:
            raise InputError(
                "`model` must have trainable weights of more than one dimension for "
                f"AWP. Received: {model.name}, without"
            )
        # Also those that stay: a stateless backend has their values in a scope.
        mapping = _values(model)

        def at(values: list[Tensor]) -> Tensor:
            replaced = zip(chosen, values, strict=True)
            with keras.StatelessScope([*mapping, *replaced]):
                value = loss()
            # Or what is small would be 0 in float16.
            return model.optimizer.scale_loss(value)

        # Constants: the update's gradient must not go through the perturbation.
        values = [ops.stop_gradient(weight.value) for weight in chosen]
        gradients = backend.gradients_at(at, values)
        deltas = map(self._delta, values, gradients)
        return list(zip(chosen, deltas, strict=True))

    def _delta(self, weight: Tensor, gradient: Tensor) -> Tensor:
        w, g = ops.cast(weight, "float32"), ops.cast(gradient, "float32")
        # The squares of a scaled loss's gradient might leave float32.
        g = g / ops.max(ops.abs(g))
        length = _norm(g)
        delta = self.gamma * _norm(w) / length * g
        # Nothing where the gradient is 0, or out of float16: that step is skipped, but
        # NaN would stay in the statistics of batch normalisation.
        return ops.cast(ops.where(ops.isfinite(length), delta, 0.0), weight.dtype)


@contextlib.contextmanager
def perturbed(deltas: Deltas) -> Iterator[None]:
    """In this scope `run_perturbed` runs a model at perturbed weights."""
    token = _DELTAS.set(deltas)
    try:
        yield
    finally:
        _DELTAS.reset(token)


def run_perturbed(model: keras.Model, run: Callable[[], Any]) -> Any:
    """Runs a model in its own `call`, where in the scope at perturbed weights.

    The gradient reaches its variables as if they had those values.

    Args:
        model: The `keras.Model`.
        run: Callable without arguments, which runs it and returns the outputs.
    """
    deltas = _DELTAS.get()
    if deltas is None:
        return run()
    # What Keras has no public name for: in mixed precision `call` sees weights rounded
    # to float16, and layers of float32 want them as they are.
    with AutocastScope(None):
        moved = [(weight, weight.value + delta) for weight, delta in deltas]
        scope = keras.StatelessScope([*_values(model), *moved], collect_losses=True)
    before = {id(v): scope.get_current_value(v) for v in model.variables}
    with scope:
        outputs = run()
    # What a pass leaves behind: statistics, the states of random generators, losses.
    for variable in [*model.non_trainable_variables, *model.metrics_variables]:
        value = scope.get_current_value(variable)
        if value is not before.get(id(variable)):
            variable.assign(value)
    if scope.losses:
        # One new tensor: a layer's own would count as the layer's, too.
        model.add_loss(sum(ops.sum(ops.cast(v, "float32")) for v in scope.losses))
    return outputs


def _norm(value: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(value)))


def _values(model: keras.Model) -> Deltas:
    return [(variable, variable.value) for variable in model.variables]

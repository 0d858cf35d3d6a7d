"""The seam to JAX."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_gce.backend.compiled import compiled_for, functions_of
from keras_gce.backend.jax_draws import Draws, own_draws, seeds_of, while_loop
from keras_gce.backend.jax_loops import Compiled, while_active
from keras_gce.backend.tensorflow_seeds import seeded
from keras_gce.checks import State, Tensor

__all__ = [
    "accelerators",
    "eagerly",
    "gradient_of",
    "gradients_at",
    "normal",
    "numpy_function",
    "on_host",
    "own_draws",
    "replica_id",
    "run_compiled",
    "second_update",
    "seeded",
    "state_scope",
    "trace_count",
    "training_loop",
    "uniform",
    "while_active",
    "while_loop",
]


def gradient_of(
    fn: Callable[[Tensor], tuple[Any, Any]], x: Tensor
) -> tuple[Any, Any, Any]:
    """Computes the gradient of a sum over examples with respect to an input.

    The arguments and results are those of the TensorFlow seam's.
    """
    values, pull_back, extra = jax.vjp(fn, x, has_aux=True)
    if not isinstance(values, tuple):
        return pull_back(jnp.ones_like(values))[0], values, extra
    # One row of the identity for each of the values.
    rows = tuple(
        jnp.zeros((len(values), *value.shape), value.dtype).at[i].set(1)
        for i, value in enumerate(values)
    )
    (gradients,) = jax.vmap(pull_back)(rows)
    return tuple(gradients), values, extra


def gradients_at(fn: Callable[[list[Tensor]], Tensor], values: list[Tensor]) -> Any:
    """Computes the gradients of a scalar in a train step; one program has all replicas.

    The arguments and results are those of the TensorFlow seam's.
    """
    return jax.grad(fn)(values)


def run_compiled(
    classifier: Any,
    key: Hashable,
    fn: Callable[..., Any],
    batch: tuple[Tensor, ...],
    settings: dict[str, Tensor],
    jit_compile: bool | str = "auto",
) -> Any:
    """Runs `fn(classifier, *batch, **settings)`, compiled once for its model and `key`.

    The arguments and results are those of the TensorFlow seam's. JAX compiles for
    fixed shapes, and always with XLA: batches are filled up with copies of their last
    example, to few sizes, and the loops of `while_active` run from the host; see
    `Compiled`. `fn` returns tensors with the examples along the first axis.

    A model's generators of random numbers have moved on afterwards, as they have after
    Keras's `predict`.
    """
    del jit_compile
    settings = {name: jnp.asarray(value) for name, value in settings.items()}
    model = classifier.model
    functions = functions_of(classifier)
    if key not in functions:
        again = classifier.weakly()

        def compiled(
            weights: list[Tensor], batch: State, settings: dict[str, Tensor]
        ) -> Any:
            classifier = again()
            model = classifier.model
            with _weights(model, weights) as draws:
                results = fn(classifier, *batch, **settings)
            program.draws |= draws.any
            return results

        program = functions[key] = Compiled(compiled)
    weights = [variable.value for variable in model.variables]
    results = functions[key](weights, batch, settings)
    if functions[key].draws:
        for variable in seeds_of(model):
            variable.assign(variable.value + np.array([0, 1], variable.dtype))
    return results


def _weights(model: keras.Model, weights: Sequence[Tensor]) -> Draws:
    """In this scope the model's variables are `weights`, and none of them changes."""
    mapping = list(zip(model.variables, weights, strict=True))
    return Draws(keras.StatelessScope(state_mapping=mapping))


def uniform(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return jax.random.uniform(seed.astype("uint32"), shape)


def normal(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return jax.random.normal(seed.astype("uint32"), shape)


def numpy_function(fn: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    """Computes a function of arrays; see the TensorFlow seam's.

    A function that draws random numbers may draw once for several passes.
    """
    result = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(
        lambda value: fn(np.asarray(value)), result, x, vmap_method="sequential"
    )


def on_host(value: Tensor) -> Tensor:
    """Returns an array as the tensor that attacks return."""
    return jnp.asarray(value)


def eagerly() -> AbstractContextManager[Any]:
    """Returns a scope in which operations have values, also within compiled code."""
    return jax.ensure_compile_time_eval()


def state_scope(model: keras.Model, state: Any) -> AbstractContextManager[Any]:
    """Returns a scope in which the model's variables are those of a train step."""
    return Draws(keras.StatelessScope(state_mapping=_mapping(model, state)))


def _mapping(model: keras.Model, state: Any) -> list[tuple[keras.Variable, Tensor]]:
    return [
        pair
        for known, values in zip(_groups(model)[:3], state, strict=False)
        for pair in zip(known, values, strict=True)
    ]


def _groups(model: keras.Model) -> list[list[keras.Variable]]:
    """Returns the variables of a train step's state, in its order."""
    return _lists(
        (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )


def second_update(
    model: keras.Model,
    optimizer: keras.Optimizer,
    fn: Callable[[], Tensor],
    result: Any,
) -> Any:
    """Takes another step in a train step, down a value of `fn`.

    The arguments and results are those of the TensorFlow seam's.
    """
    logs, (trainable, non_trainable, *others) = result

    def value(trainable: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        mapping = _mapping(model, (trainable, non_trainable, others[0]))
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            scaled = optimizer.scale_loss(fn())
            now = [scope.get_current_value(v) for v in model.non_trainable_variables]
        return scaled, now

    gradients, non_trainable = jax.grad(value, has_aux=True)(trainable)
    own = {id(variable) for variable in optimizer.variables}
    where = [i for i, v in enumerate(model.non_trainable_variables) if id(v) in own]
    trainable, new = optimizer.stateless_apply(
        [non_trainable[i] for i in where], gradients, trainable
    )
    for i, v in zip(where, new, strict=True):
        non_trainable[i] = v
    return logs, (trainable, non_trainable, *others)


def training_loop(
    trainer: keras.Model,
    batch_of: Callable[[Any, State], Any],
    data: Any,
) -> Callable[[State, int, int], None]:
    """Returns a function that trains on a stretch of batches, as one program.

    The arguments and results are those of the TensorFlow seam's.
    """
    data = jax.tree.map(jnp.asarray, data)

    def step(state: Any, data: Any, columns: State, i: Tensor) -> Any:
        batch = batch_of(data, tuple(column[i] for column in columns))
        _, new = trainer.train_step(state, batch)
        # A loop asks for the types that it began with.
        return jax.tree.map(lambda v, old: v.astype(old.dtype), _lists(new), state)

    def stretch(
        state: Any, data: Any, columns: State, start: Tensor, stop: Tensor
    ) -> Any:
        return jax.lax.fori_loop(
            start, stop, lambda i, state: step(state, data, columns, i), state
        )

    # On a CPU XLA leaves the gradients of convolutions in their slowest form within a
    # loop, seven times slower than outside: there each step is called by itself.
    looped = jax.default_backend() != "cpu"
    compiled = jax.jit(stretch if looped else step, donate_argnums=0)

    def run(columns: State, start: int, stop: int) -> None:
        groups = _groups(trainer)
        state = [[variable.value for variable in group] for group in groups]
        columns = tuple(jnp.asarray(column) for column in columns)
        if looped:
            state = compiled(state, data, columns, np.int32(start), np.int32(stop))
        else:
            for i in range(start, stop):
                state = compiled(state, data, columns, np.int32(i))
        for group, values in zip(groups, jax.block_until_ready(state), strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    return run


def _lists(groups: Any) -> list[list[Any]]:
    return [list(group) for group in groups]


def accelerators() -> list[str]:
    """Returns the names of the devices beside the CPU."""
    return [device.device_kind for device in jax.devices() if device.platform != "cpu"]


def replica_id() -> Any:
    """Returns which replica of a distributed step this is: one program runs all."""
    return 0


def trace_count(model: keras.Model) -> int:
    """Returns how many programs were compiled for `model`, for tests."""
    return sum(fn.count for fn in compiled_for(model).values())

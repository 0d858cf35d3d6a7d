"""The seam to TensorFlow."""

import contextlib
import functools
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_gce.backend.compiled import compiled_for, functions_of
from keras_gce.backend.tensorflow_loops import while_active, while_loop
from keras_gce.backend.tensorflow_seeds import seeded
from keras_gce.backend.tensorflow_steps import gradients_at, second_update
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


# The functions of arrays that were met while a function was traced.
_CALLS_HOST: ContextVar[list[Any] | None] = ContextVar("_CALLS_HOST", default=None)


def gradient_of(
    fn: Callable[[Tensor], tuple[Any, Any]], x: Tensor
) -> tuple[Any, Any, Any]:
    """Computes the gradient of a sum over examples with respect to an input.

    Args:
        fn: Callable of `x` that returns the value of each example, or a tuple of
            several such values, and anything else that the caller wants from the same
            forward pass.
        x: Tensor of shape `(N, ...)`.

    Returns:
        The gradient, of `x`'s shape, or a tuple with one for each of several values;
        `fn`'s first result; its second.
    """

    def results(x: Tensor) -> tuple[Any, Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            values, extra = fn(x)
        several = isinstance(values, tuple)
        gradients = tuple(
            tape.gradient(value, x, unconnected_gradients="zero")
            for value in (values if several else (values,))
        )
        return gradients if several else gradients[0], values, extra

    if tf.executing_eagerly():
        return results(x)
    # A function of its own, called from the graph and not put into it. In a graph
    # with a loop oneDNN's pass may come to a pooling's gradient before the pooling,
    # and then leaves it to TensorFlow's own kernel, which takes several times as long.
    apart = tf.function(
        results, autograph=False, experimental_attributes={"_noinline": True}
    )
    return apart(x)


def run_compiled(
    classifier: Any,
    key: Hashable,
    fn: Callable[..., Any],
    batch: tuple[Tensor, ...],
    settings: dict[str, Tensor],
    jit_compile: bool | str = "auto",
) -> Any:
    """Runs `fn(classifier, *batch, **settings)`, compiled once for its model and `key`.

    The batch dimension is left open: batches of all sizes share one trace. XLA, which
    compiles for fixed shapes, gets them filled up with copies of their last example,
    so that it meets few sizes. The model's weights are read at every call.

    Args:
        classifier: The `keras_gce.classifier.Classifier` of the model that `fn` uses.
        key: Hashable; says what `fn` computes, beside its arguments.
        fn: The function. Of two calls with the same key the first one's is kept.
        batch: Tuple of tensors with the examples along the first axis.
        settings: Dict of tensors that are the same for all examples.
        jit_compile: `True`, `False`, or `"auto"`: XLA where there is a GPU.

    Returns:
        What `fn` returns: tensors with the examples along the first axis.
    """
    batch = tuple(tf.convert_to_tensor(value) for value in batch)
    settings = {name: tf.convert_to_tensor(v) for name, v in settings.items()}
    if tf.config.functions_run_eagerly():  # TensorFlow's switch for a debugger.
        return fn(classifier, *batch, **settings)
    signature = (
        tuple(tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in batch),
        {name: tf.TensorSpec(v.shape, v.dtype) for name, v in settings.items()},
    )
    functions = functions_of(classifier)
    if jit_compile == "auto":
        jit_compile = _has_gpu()
    key = (key, jit_compile, signature[0])
    if key not in functions:
        again = classifier.weakly()
        traced = functools.partial(
            tf.function,
            lambda batch, settings: fn(again(), *batch, **settings),
            input_signature=signature,
            autograph=False,
        )
        calls_host = _CALLS_HOST.set([])
        try:
            function = traced(jit_compile=jit_compile).get_concrete_function()
            if jit_compile and _CALLS_HOST.get():  # What XLA can't do.
                function = traced(jit_compile=False).get_concrete_function()
        finally:
            _CALLS_HOST.reset(calls_host)
        functions[key] = function
    if not jit_compile:
        return functions[key](batch, settings)
    # XLA compiles for fixed shapes: there would be a program for each batch size.
    n = len(batch[0])
    batch = tuple(_filled(value, 1 << (n - 1).bit_length()) for value in batch)
    results = functions[key](batch, settings)
    return tf.nest.map_structure(lambda value: value[:n], results)


def _filled(value: Tensor, size: int) -> Tensor:
    missing = size - len(value)
    if not missing:
        return value
    return tf.concat([value, tf.repeat(value[-1:], missing, axis=0)], axis=0)


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def uniform(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws float32 numbers uniformly from [0, 1).

    Args:
        shape: The shape, integers or scalar tensors.
        seed: Integers of shape `(2,)`, a tensor: the same ones, the same numbers.
    """
    return tf.random.stateless_uniform(shape, seed)


def normal(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws float32 numbers of mean 0 and deviation 1, as `uniform` does."""
    return tf.random.stateless_normal(shape, seed)


def own_draws(model: keras.Model) -> AbstractContextManager[Any]:
    """Returns a scope for one pass of a model, whose random numbers are its own.

    Here the model's generators move on by themselves, in a compiled loop too.
    """
    return contextlib.nullcontext()


def numpy_function(fn: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    """Computes a function of arrays, on the host, also within compiled code.

    Args:
        fn: Callable of an array that returns one of its shape and type.
        x: Tensor.

    Returns:
        A tensor of `x`'s shape and type, which has no gradient.
    """
    met = _CALLS_HOST.get()
    if met is not None:
        met.append(fn)
    value = tf.numpy_function(fn, [x], x.dtype)
    value.set_shape(x.shape)
    return value


def on_host(value: Tensor) -> Tensor:
    """Returns an array as the tensor that attacks return."""
    return tf.convert_to_tensor(value)


def eagerly() -> AbstractContextManager[Any]:
    """Returns a scope in which operations have values, also within compiled code."""
    return tf.init_scope()


def state_scope(model: keras.Model, *state: Any) -> AbstractContextManager[Any]:
    """Returns a scope in which the model's variables are those of a train step."""
    return contextlib.nullcontext()


def training_loop(
    trainer: keras.Model,
    batch_of: Callable[[Any, State], Any],
    data: Any,
) -> Callable[[State, int, int], None]:
    """Returns a function that trains on a stretch of batches, as one program.

    It repeats the trainer's own `train_step` on the device, so that what the step does
    (perturbing images, several updates, metrics, loss scaling) is done there too.

    Args:
        trainer: A compiled `keras.Model`, whose optimizer and metrics are built.
        batch_of: Callable `(data, rows)` of one step in compiled code: from `data` and
            one row of each column, the batch that `train_step` takes.
        data: Structure of arrays that lie on the device for all calls.

    Returns:
        Callable `(columns, start, stop)`, which trains on rows `start` to `stop - 1` of
        the columns, integers of shape `(steps, batch size)`, and then returns. It is
        compiled once for all lengths of a stretch.
    """
    data = tf.nest.map_structure(tf.convert_to_tensor, data)
    strategy = trainer.distribute_strategy

    def train(rows: State) -> None:
        # Of several devices each takes its share of the batch.
        share = slice(replica_id(), None, strategy.num_replicas_in_sync)
        trainer.train_step(batch_of(data, tuple(row[share] for row in rows)))

    def stretch(columns: State, start: Tensor, stop: Tensor) -> None:
        def step(i: Tensor) -> tuple[Tensor]:
            strategy.run(train, (tuple(column[i] for column in columns),))
            return (i + 1,)

        tf.while_loop(lambda i: i < stop, step, (start,), parallel_iterations=1)

    number = tf.TensorSpec([], tf.int32)

    @functools.cache
    def compiled(num_columns: int) -> Callable[..., Any]:
        column = tf.TensorSpec([None, None], tf.int32)
        signature = ((column,) * num_columns, number, number)
        function = tf.function(
            stretch,
            input_signature=signature,
            # XLA where it is the faster one, as in `run_compiled`.
            jit_compile=_has_gpu() and trainer.jit_compile,
            autograph=False,
        )
        return function.get_concrete_function()

    def run(columns: State, start: int, stop: int) -> None:
        columns = tuple(tf.convert_to_tensor(column) for column in columns)
        eagerly = tf.config.functions_run_eagerly()  # The switch for a debugger.
        function = stretch if eagerly else compiled(len(columns))
        function(columns, tf.constant(start), tf.constant(stop))

    return run


def accelerators() -> list[str]:
    """Returns the names of the devices beside the CPU."""
    details = tf.config.experimental.get_device_details
    return [
        details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices()
        if device.device_type != "CPU"
    ]


def replica_id() -> Any:
    """Returns which replica of a distributed step this is, 0 where there is one."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group if context else 0


def trace_count(model: keras.Model) -> int:
    """Returns how many functions were traced for `model`, for tests."""
    return len(compiled_for(model))

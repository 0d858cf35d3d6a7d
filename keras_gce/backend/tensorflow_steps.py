"""What train steps ask of TensorFlow."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_gce.checks import Tensor

__all__ = ["gradients_at", "second_update"]


def gradients_at(fn: Callable[[list[Tensor]], Tensor], values: list[Tensor]) -> Any:
    """Computes the gradients of a scalar in a train step, the sum over replicas.

    Args:
        fn: Callable of the values that returns the scalar.
        values: List of tensors; the same in all replicas.

    Returns:
        A list of gradients, one for each value, 0 for what `fn` doesn't look at.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        value = fn(values)
    gradients = tape.gradient(value, values, unconnected_gradients="zero")
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)


def second_update(
    model: keras.Model,
    optimizer: keras.Optimizer,
    fn: Callable[[], Tensor],
    result: Any,
) -> Any:
    """Takes another step in a train step, down a value of `fn`.

    Args:
        model: The `keras.Model` in training.
        optimizer: The optimizer of this step, whose variables are among the model's
            `non_trainable_variables`.
        fn: Callable without arguments, which returns the value.
        result: What the train step returned up to here.

    Returns:
        What the train step returns now.
    """
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        value = optimizer.scale_loss(fn())
    optimizer.apply(tape.gradient(value, variables), variables)
    return result

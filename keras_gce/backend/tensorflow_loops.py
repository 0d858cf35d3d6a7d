"""Loops that decided examples leave, under TensorFlow: they leave the batch."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_gce.checks import State, Tensor

__all__ = ["while_active", "while_loop"]


def while_loop(
    cond: Callable[..., Tensor], body: Callable[..., State], state: State
) -> State:
    """Repeats `body` while `cond` holds; in each round a model draws anew.

    `keras.ops.while_loop` under JAX gives a random model the same numbers each time.

    Args:
        cond: Callable of the state that says whether to go on.
        body: Callable of the state that returns the next one.
        state: Tuple of tensors, the first of which numbers the rounds.

    Returns:
        The last state.
    """
    results: State = keras.ops.while_loop(cond, body, state)
    return results


def while_active(
    step: Callable[[Tensor, State], tuple[State, Tensor]],
    state: State,
    num_steps: Tensor,
    num_results: int = 1,
) -> State:
    """Repeats a step on the examples that are not done; the others leave the batch.

    Args:
        step: Callable `(i, state) -> (state, done)`: the number of the step, the
            tuple of tensors with the active examples along their first axes, and
            which of them are done.
        state: Tuple of tensors with all examples along their first axes.
        num_steps: Scalar integer tensor, the most steps that an example takes.
        num_results: How many tensors of the state, the first ones, are results.
            Defaults to 1.

    Returns:
        Tuple of the results, with all examples, each as it was when it was done or
        when the steps were used up.
    """

    def body(i: Tensor, index: Tensor, results: State, active: State) -> State:
        active, done = step(i, active)

        def drop() -> State:
            finished = tf.where(done)
            kept = tf.where(~done)[:, 0]
            where = tf.gather_nd(index, finished)[:, None]
            return (
                tf.gather(index, kept),
                tuple(
                    tf.tensor_scatter_nd_update(
                        result, where, tf.gather_nd(value, finished)
                    )
                    for result, value in zip(results, active, strict=False)
                ),
                tuple(tf.gather(value, kept) for value in active),
            )

        kept = tf.cond(tf.reduce_any(done), drop, lambda: (index, results, active))
        return (i + 1, *kept)

    state = tuple(tf.convert_to_tensor(value) for value in state)
    index = tf.range(tf.shape(state[0])[0])
    variables = (tf.constant(0), index, state[:num_results], state)
    _, index, results, active = tf.while_loop(
        lambda i, index, *_: (i < num_steps) & (tf.size(index) > 0),
        body,
        variables,
        shape_invariants=tf.nest.map_structure(
            lambda v: tf.TensorShape([None, *v.shape[1:]] if v.shape.rank else []),
            variables,
        ),
    )
    return tuple(
        tf.tensor_scatter_nd_update(result, index[:, None], value)
        for result, value in zip(results, active, strict=False)
    )

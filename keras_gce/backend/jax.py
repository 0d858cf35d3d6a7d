"""The seam to JAX."""

import jax
import jax.numpy as jnp
import keras

from keras_gce.backend.compiled import compiled_for, functions_of
from keras_gce.errors import InputError


def gradient_of(fn, x):
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


def run_compiled(classifier, key, fn, batch, settings, jit_compile="auto"):
    """Runs `fn(classifier, *batch, **settings)`, compiled once for its model and `key`.

    The arguments and results are those of the TensorFlow seam's. JAX compiles for
    fixed shapes, and always with XLA: batches are filled up to a power of two with
    copies of their last example, and share a compilation up to there. `fn` returns
    tensors with the examples along the first axis.
    """
    del jit_compile
    n = len(batch[0])
    size = 1 << (n - 1).bit_length()
    batch = tuple(_filled(jnp.asarray(value), size) for value in batch)
    settings = {name: jnp.asarray(value) for name, value in settings.items()}
    model = classifier.model
    functions = functions_of(classifier)
    if key not in functions:
        again = classifier.weakly()

        def compiled(weights, batch, settings):
            classifier = again()
            model = classifier.model
            with _weights(model, weights) as scope:
                results = fn(classifier, *batch, **settings)
            _refuse_random(model, scope, weights)
            return results

        functions[key] = jax.jit(compiled)
    weights = [variable.value for variable in model.variables]
    results = functions[key](weights, batch, settings)
    return jax.tree.map(lambda value: value[:n], results)


def _filled(value, size):
    missing = size - len(value)
    if not missing:
        return value
    return jnp.concatenate([value, jnp.repeat(value[-1:], missing, axis=0)])


def _refuse_random(model, scope, weights):
    # A compiled loop would draw the same numbers in each round, and averaging over
    # them, as attacks on such models do, would average nothing.
    for variable, value in zip(model.variables, weights, strict=True):
        is_seed = "seed_generator_state" in variable.path
        if is_seed and scope.get_current_value(variable) is not value:
            raise InputError(
                "`model` must give the same output twice under JAX. Received: "
                f"model={model.name}, which draws random numbers; evaluate it under "
                "KERAS_BACKEND=tensorflow or torch"
            )


def _weights(model, weights):
    """In this scope the model's variables are `weights`, and none of them changes."""
    return keras.StatelessScope(
        state_mapping=list(zip(model.variables, weights, strict=True))
    )


def uniform(shape, seed):
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return jax.random.uniform(seed.astype("uint32"), shape)


def normal(shape, seed):
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return jax.random.normal(seed.astype("uint32"), shape)


def on_host(value):
    """Returns an array as the tensor that attacks return."""
    return jnp.asarray(value)


def eagerly():
    """Returns a scope in which operations have values, also within compiled code."""
    return jax.ensure_compile_time_eval()


def state_scope(model, state):
    """Returns a scope in which the model's variables are those of a train step."""
    return keras.StatelessScope(state_mapping=_mapping(model, state))


def _mapping(model, state):
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )
    return [
        pair
        for known, values in zip(variables, state, strict=False)
        for pair in zip(known, values, strict=True)
    ]


def second_update(model, optimizer, fn, result):
    """Takes another step in a train step, down a value of `fn`.

    The arguments and results are those of the TensorFlow seam's.
    """
    logs, (trainable, non_trainable, *others) = result

    def value(trainable):
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


def accelerators():
    """Returns the names of the devices beside the CPU."""
    return [device.device_kind for device in jax.devices() if device.platform != "cpu"]


def replica_id():
    """Returns which replica of a distributed step this is: one program runs all."""
    return 0


def trace_count(model):
    """Returns how many functions were traced for `model`, for tests."""
    return sum(fn._cache_size() for fn in compiled_for(model).values())


def while_active(step, state, num_steps, num_results=1):
    """Repeats a step until all examples are done; results are kept from then on.

    The arguments and results are those of the TensorFlow seam's. Shapes are fixed
    here, so that examples that are done run along until the last one is.
    """

    def body(carry):
        i, active, results, state = carry
        state, done = step(i, state)
        results = tuple(
            jnp.where(active.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)
            for new, old in zip(state, results, strict=False)
        )
        return i + 1, active & ~done, results, state

    state = tuple(jnp.asarray(value) for value in state)
    active = jnp.ones(len(state[0]), bool)
    carry = (jnp.int32(0), active, state[:num_results], state)
    return jax.lax.while_loop(
        lambda carry: (carry[0] < num_steps) & carry[1].any(), body, carry
    )[2]

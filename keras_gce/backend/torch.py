"""The seam to PyTorch, which runs eagerly: nothing is compiled here."""

import contextlib

import keras
import torch


def gradient_of(fn, x):
    """Computes the gradient of a sum over examples with respect to an input.

    The arguments and results are those of the TensorFlow seam's.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        values, extra = fn(x)
        several = values if isinstance(values, tuple) else (values,)
        gradients = tuple(
            torch.autograd.grad(
                value.sum(),
                x,
                retain_graph=value is not several[-1],
                materialize_grads=True,
                allow_unused=True,
            )[0]
            for value in several
        )
    detached = keras.tree.map_structure(_detached, (values, extra))
    return (gradients if isinstance(values, tuple) else gradients[0], *detached)


def _detached(value):
    return value.detach() if isinstance(value, torch.Tensor) else value


def run_compiled(classifier, key, fn, batch, settings, jit_compile="auto"):
    """Runs `fn(classifier, *batch, **settings)`.

    The arguments and results are those of the TensorFlow seam's; results are on the
    CPU.
    """
    del key, jit_compile
    batch = tuple(keras.ops.convert_to_tensor(value) for value in batch)
    settings = {n: keras.ops.convert_to_tensor(v) for n, v in settings.items()}
    with torch.no_grad():
        results = fn(classifier, *batch, **settings)
    return keras.tree.map_structure(lambda value: value.detach().cpu(), results)


def uniform(shape, seed):
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return torch.rand(shape, generator=_generator(seed), device=seed.device)


def normal(shape, seed):
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return torch.randn(shape, generator=_generator(seed), device=seed.device)


def _generator(seed):
    # As `keras.random` has it.
    return torch.Generator(seed.device).manual_seed(int(seed.sum()) & 0xFFFFFFFF)


def on_host(value):
    """Returns an array as the tensor that attacks return: on the CPU, as theirs are."""
    return torch.as_tensor(value, device="cpu")


def eagerly():
    """Returns a scope in which operations have values, also where Keras has none."""
    # Its symbolic calls run on the device "meta".
    return keras.device("cpu")


def state_scope(model, *state):
    """Returns a scope in which the model's variables are those of a train step."""
    return contextlib.nullcontext()


def second_update(model, optimizer, fn, result):
    """Takes another step in a train step, down a value of `fn`.

    The arguments and results are those of the TensorFlow seam's.
    """
    model.zero_grad()
    optimizer.scale_loss(fn()).backward()
    variables = model.trainable_variables
    with torch.no_grad():
        optimizer.apply([variable.value.grad for variable in variables], variables)
    return result


def accelerators():
    """Returns the names of the devices beside the CPU."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def replica_id():
    """Returns which replica of a distributed step this is: there is one."""
    return 0


def trace_count(model):
    """Returns how many functions were traced for `model`: none is."""
    return 0


def while_active(step, state, num_steps, num_results=1):
    """Repeats a step on the examples that are not done; the others leave the batch.

    The arguments and results are those of the TensorFlow seam's.
    """
    results = tuple(value.clone() for value in state[:num_results])
    index = torch.arange(len(state[0]), device=state[0].device)
    for i in range(int(num_steps)):
        if not len(index):
            break
        state, done = step(i, state)
        if done.any():
            _put(results, index, state, done)
            index, state = index[~done], tuple(value[~done] for value in state)
    _put(results, index, state, torch.ones_like(index, dtype=torch.bool))
    return results


def _put(results, index, state, which):
    for result, value in zip(results, state, strict=False):
        result[index[which]] = value[which]

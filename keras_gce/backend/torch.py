"""The seam to PyTorch, which runs eagerly: nothing is compiled here."""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import torch

from keras_gce.backend import tensorflow_seeds
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
            # Of what depends on nothing, as a class does, PyTorch has no gradient.
            if value.requires_grad
            else torch.zeros_like(x)
            for value in several
        )
    detached = keras.tree.map_structure(_detached, (values, extra))
    return (gradients if isinstance(values, tuple) else gradients[0], *detached)


def gradients_at(fn: Callable[[list[Tensor]], Tensor], values: list[Tensor]) -> Any:
    """Computes the gradients of a scalar in a train step, the sum over processes.

    The arguments and results are those of the TensorFlow seam's.
    """
    with torch.enable_grad():
        values = [value.detach().requires_grad_() for value in values]
        gradients = torch.autograd.grad(
            fn(values), values, materialize_grads=True, allow_unused=True
        )
    if _distributed():
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
    return gradients


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def run_compiled(
    classifier: Any,
    key: Hashable,
    fn: Callable[..., Any],
    batch: tuple[Tensor, ...],
    settings: dict[str, Tensor],
    jit_compile: bool | str = "auto",
) -> Any:
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


def uniform(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return torch.rand(shape, generator=_generator(seed), device=seed.device)


def normal(shape: Sequence[Any], seed: Tensor) -> Tensor:
    """Draws numbers; the arguments and results are those of the TensorFlow seam's."""
    return torch.randn(shape, generator=_generator(seed), device=seed.device)


def _generator(seed: Tensor) -> torch.Generator:
    # As `keras.random` has it.
    return torch.Generator(seed.device).manual_seed(int(seed.sum()) & 0xFFFFFFFF)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds PyTorch's generators for a block of code, of the CPU and of CUDA devices.

    TensorFlow's too, where it is imported.
    """
    with (
        tensorflow_seeds.seeded(seed),
        torch.random.fork_rng(list(range(torch.cuda.device_count()))),
    ):
        torch.manual_seed(seed)
        yield


def own_draws(model: keras.Model) -> AbstractContextManager[Any]:
    """Returns a scope for one pass: the model's generators move on by themselves."""
    return contextlib.nullcontext()


def numpy_function(fn: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    """Computes a function of arrays; see the TensorFlow seam's."""
    if x.device.type == "meta":  # On which Keras finds out shapes.
        return torch.empty_like(x)
    return torch.as_tensor(fn(x.detach().cpu().numpy()), device=x.device)


def on_host(value: Tensor) -> Tensor:
    """Returns an array as the tensor that attacks return: on the CPU, as theirs are."""
    return torch.as_tensor(value, device="cpu")


def eagerly() -> AbstractContextManager[Any]:
    """Returns a scope in which operations have values, also where Keras has none."""
    # Its symbolic calls run on the device "meta".
    return keras.device("cpu")


def state_scope(model: keras.Model, *state: Any) -> AbstractContextManager[Any]:
    """Returns a scope in which the model's variables are those of a train step."""
    return contextlib.nullcontext()


def second_update(
    model: keras.Model,
    optimizer: keras.Optimizer,
    fn: Callable[[], Tensor],
    result: Any,
) -> Any:
    """Takes another step in a train step, down a value of `fn`.

    The arguments and results are those of the TensorFlow seam's.
    """
    model.zero_grad()
    optimizer.scale_loss(fn()).backward()
    variables = model.trainable_variables
    with torch.no_grad():
        optimizer.apply([variable.value.grad for variable in variables], variables)
    return result


def training_loop(
    trainer: keras.Model,
    batch_of: Callable[[Any, State], Any],
    data: Any,
) -> Callable[[State, int, int], None]:
    """Returns a function that trains on a stretch of batches, without their copies.

    The arguments and results are those of the TensorFlow seam's. Nothing is compiled,
    but nothing waits either: the host queues step after step.
    """
    data = keras.tree.map_structure(keras.ops.convert_to_tensor, data)

    def run(columns: State, start: int, stop: int) -> None:
        on_device = [keras.ops.convert_to_tensor(c[start:stop]) for c in columns]
        trainer.train()
        for rows in zip(*on_device, strict=True):
            trainer.train_step(batch_of(data, rows))
        trainer.eval()

    return run


def accelerators() -> list[str]:
    """Returns the names of the devices beside the CPU."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def replica_id() -> Any:
    """Returns which replica of a distributed step this is: the rank of the process."""
    return torch.distributed.get_rank() if _distributed() else 0


def _distributed() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()


def trace_count(model: keras.Model) -> int:
    """Returns how many functions were traced for `model`: none is."""
    return 0


def while_loop(
    cond: Callable[..., Tensor], body: Callable[..., State], state: State
) -> State:
    """Repeats `body`; the arguments and results are those of the TensorFlow seam's."""
    results: State = keras.ops.while_loop(cond, body, state)
    return results


def while_active(
    step: Callable[[Tensor, State], tuple[State, Tensor]],
    state: State,
    num_steps: Tensor,
    num_results: int = 1,
) -> State:
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


def _put(results: State, index: Tensor, state: State, which: Tensor) -> None:
    for result, value in zip(results, state, strict=False):
        result[index[which]] = value[which]

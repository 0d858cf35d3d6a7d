"""The graph of a functional or sequential model, and the values of its tensors."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from keras_gce.checks import Tensor
from keras_gce.classifier.operations import of_keras

__all__ = ["Computation", "computation", "graph_of", "image_shape", "node_of"]

# (images, training) -> what a model computes of them.
Computation = Callable[[Tensor, bool | None], Tensor]


def graph_of(model: keras.Model) -> tuple[list[Any], list[Any]] | None:
    """Returns the symbolic inputs and outputs of a model; `None` for a subclassed one.

    Of a functional model whose class has a `call` of its own nothing is known either.
    """
    if not of_keras(type(model).call):
        return None
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        return None
    return (inputs, outputs) if inputs and outputs else None


def image_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """The shape of one image that a subclassed model was built for; `None`: unknown."""
    try:
        (image,) = model.inputs  # Of a functional model with a call of its own.
        return tuple(image.shape[1:])
    except (AttributeError, TypeError, ValueError):
        shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or any(
        isinstance(size, (tuple, list, dict)) for size in shape
    ):
        return None
    return tuple(shape[1:])


def node_of(tensor: keras.KerasTensor) -> Any:
    """Returns the node of the graph that made a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def computation(image: keras.KerasTensor, tensor: keras.KerasTensor) -> Computation:
    """Returns a function (images, training) -> the value of a symbolic tensor.

    As Keras's own walk over the graph of a functional model, but for the cast to an
    integer `Input`'s dtype.
    """
    order, seen = [], set()
    stack = [] if tensor is image else [(node_of(tensor), False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen and not node.is_input:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(node_of(t), False) for t in node.input_tensors if t is not image]
    takes_training = [
        "training" in inspect.signature(node.operation.call).parameters
        for node in order
    ]
    dtype = image.dtype if keras.backend.is_float_dtype(image.dtype) else "float32"

    def compute(x: Tensor, training: bool | None) -> Tensor:
        values = {id(image): ops.cast(ops.convert_to_tensor(x), dtype)}
        for node, takes in zip(order, takes_training, strict=True):
            args, kwargs = node.arguments.fill_in(values)
            if takes and training is not None:
                kwargs = {**kwargs, "training": training}
            results = node.operation(*args, **kwargs)
            for symbol, value in zip(node.outputs, tree.flatten(results), strict=True):
                values[id(symbol)] = value
        return values[id(tensor)]

    return compute

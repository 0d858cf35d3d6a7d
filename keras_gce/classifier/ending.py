"""Where the logits of a Keras model are: what stands at its end, and before it."""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
from keras import ops, tree

from keras_gce.checks import Tensor
from keras_gce.classifier.graph import (
    Computation,
    computation,
    graph_of,
    image_shape,
    node_of,
)
from keras_gce.classifier.operations import (
    activation_of,
    behaviour,
    function_of,
    has_variables,
    of_keras,
    without_activation,
)
from keras_gce.errors import InputError, one_line

__all__ = ["Ending", "State", "as_logits", "ending_of", "output_spec", "width_of"]

# Operations that only move numbers about, so that a softmax may stand before them.
MOVES = ("Flatten", "Reshape", "Squeeze", "ExpandDims", "Cast")


@dataclasses.dataclass(kw_only=True)
class Ending:
    """What stands at the end of a model. It keeps the model's layers, not the model.

    Args:
        kind: `"logits"`, `"softmax"` or `"sigmoid"`: what the output is.
        before: Callable (images, training) -> logits; `None`: the model itself.
        whole: Callable (images, training) -> the model's output, past the cast of an
            integer `Input`; `None`: the model itself.
        input_shape: The shape of one image; `None`: not known.
        output: The shape of the output, batch axis included; `None`: not known yet.
        opaque: Whether the end can't be looked into.
        unusual: Whether logits come from other than Keras's own layers in their usual
            place, and are compared with the output at first sight.
        checked: Whether they have been.
    """

    kind: str = "logits"
    before: Computation | None = None
    whole: Computation | None = None
    input_shape: tuple[int | None, ...] | None = None
    output: tuple[int | None, ...] | None = None
    opaque: bool = False
    unusual: bool = False
    checked: bool = False


class State:
    """What a model is made of and compiled with: what is known of it is known of that.

    As in Keras, a layer that does something else is seen once the model is compiled
    anew, and an exchanged one at once; a new activation of the last layer too.
    """

    def __init__(self, model: keras.Model) -> None:
        # The configuration is a new object after each `compile`; before there is none.
        compiled = getattr(model, "_compile_config", None)
        last = activation_of(model.layers[-1]) if model.layers else None
        self._parts = (compiled, last, *model.weights)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, State)
            and len(self._parts) == len(other._parts)
            and all(a is b for a, b in zip(self._parts, other._parts, strict=True))
        )


# What is known of each model, without the model: the entry goes when the model does.
_KNOWN: weakref.WeakKeyDictionary[keras.Model, tuple[State, Ending]] = (
    weakref.WeakKeyDictionary()
)


def ending_of(model: keras.Model) -> tuple[State, Ending]:
    """Returns the `State` of a model, and its `Ending`, found at first and kept.

    Raises:
        InputError: If `model` is no Keras model, is not built, has several inputs or
            outputs, or ends in what hides its logits.
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"`model` must be a keras.Model. Received: model={model!r}")
    now = State(model)
    if model not in _KNOWN or _KNOWN[model][0] != now:
        _KNOWN[model] = (now, _look(model))
    return _KNOWN[model]


def output_spec(
    model: keras.Model, input_shape: tuple[int | None, ...] | None
) -> tuple[int | None, ...]:
    """Returns the shape of a model's one output for images of a shape."""
    if input_shape is None:
        raise InputError(
            "`model` must be called on a batch first, so that its classes can be "
            f"counted. Received: model={model.name}, which has not seen an image"
        )
    try:
        spec = model.compute_output_spec(keras.KerasTensor((None, *input_shape)))
    except Exception as error:  # Whatever its call raises.
        raise InputError(
            f"`model` must take images of shape {tuple(input_shape)} as its one input. "
            f"Received: model={model.name}, which fails with {one_line(error)}"
        ) from error
    outputs = tree.flatten(spec)
    if len(outputs) != 1:
        raise InputError(
            "`model` must have one input and one output. "
            f"Received: model={model.name} with {len(outputs)} outputs"
        )
    return outputs[0].shape


def width_of(model: keras.Model, output: tuple[int | None, ...]) -> int:
    """Returns how many numbers an output of a shape has for an example."""
    if len(output) == 1:
        return 1
    if len(output) != 2 or output[1] is None:
        raise InputError(
            "`model` must have one output of shape (N, K), or (N, 1) or (N,) for "
            f"two classes. Received: model={model.name} with an output of {output}"
        )
    return output[1]


def as_logits(value: Tensor) -> Tensor:
    """Returns logits as float32 of shape `(N, K)`: one of two classes as [0, z]."""
    value = ops.cast(value, "float32")
    if len(value.shape) == 1:
        value = value[:, None]
    if value.shape[-1] == 1:
        value = ops.concatenate([ops.zeros_like(value), value], axis=-1)
    return value


def _look(model: keras.Model) -> Ending:
    if not model.built:
        raise InputError(
            "`model` must be built: call it on a batch first, or give it a "
            f"keras.Input. Received: model={model.name}"
        )
    graph = graph_of(model)
    if graph is None:
        return Ending(opaque=True, input_shape=image_shape(model))
    inputs, outputs = graph
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            "`model` must have one input and one output. "
            f"Received: {len(inputs)} inputs and {len(outputs)} outputs"
        )
    (image,), (output,) = inputs, outputs
    if image.shape[0] is not None:
        raise InputError(
            "`model` must leave the number of images open. Received: "
            f"model={model.name}, whose Input has a batch of {image.shape[0]}"
        )
    ending = _walk_back(model, image, output)
    ending.input_shape, ending.output = tuple(image.shape[1:]), tuple(output.shape)
    # Of a sequential model it is one tensor; a functional one may have it in a dict.
    sequential = isinstance(model, keras.Sequential)
    if not keras.backend.is_float_dtype(image.dtype):
        compute = computation(image, output)
        structure = output if sequential else model.output

        def whole(x: Tensor, training: bool | None) -> Any:
            return tree.pack_sequence_as(structure, [compute(x, training)])

        ending.whole = whole
    nested = not sequential and tree.is_nested(model.input)
    if ending.before is None and (ending.whole or nested):
        ending.before = computation(image, output)
    return ending


def _walk_back(
    model: keras.Model, image: keras.KerasTensor, output: keras.KerasTensor
) -> Ending:
    """Walks from the output back to the softmax or sigmoid, if there is one."""
    moves: list[keras.Operation] = []
    tensor = output
    one = len(output.shape) == 1 or output.shape[-1] == 1
    while True:
        node = node_of(tensor)
        operation, sources = node.operation, node.input_tensors
        if len(sources) != 1 or node.is_input:
            return Ending(opaque=True)
        if isinstance(operation, keras.Model):
            number = tensor._keras_history.tensor_index
            return _of_inner(image, operation, number, sources[0], moves)
        function = function_of(operation)
        kind = behaviour(function, sources[0].shape, one)
        known, weightless = of_keras(type(operation)), not has_variables(operation)
        if kind in ("softmax", "sigmoid"):
            if _ends_in_probabilities(sources[0], one):
                _refuse(model, operation, function, "twice")
            return Ending(
                kind=kind,
                before=_chain(
                    computation(image, sources[0]), without_activation(operation), moves
                ),
                unusual=bool(moves) or not known,
            )
        if weightless and (kind == "linear" or type(operation).__name__ in MOVES):
            moves.insert(0, operation)
            tensor = sources[0]
            continue
        own = function is not operation and kind != "linear"
        if kind is not None and (own or kind in ("relu", "sigmoids")):
            _refuse(model, operation, function, kind)
        return Ending(
            # A layer of Keras with weights and a linear end gives no probabilities;
            # what it wraps, an average and others may.
            opaque=weightless or not known or kind != "linear",
        )


def _of_inner(
    image: keras.KerasTensor,
    inner: keras.Model,
    number: int,
    source: keras.KerasTensor,
    moves: Sequence[keras.Operation],
) -> Ending:
    """The softmax of an inner model's output of a number is the outer one's."""
    graph = graph_of(inner)
    if graph is None:
        return Ending(opaque=True)
    (inner_image,), inner_output = graph[0], graph[1][number]
    found = _walk_back(inner, inner_image, inner_output)
    if found.before is None:
        return found
    outer, inside = computation(image, source), found.before

    def before(x: Tensor, training: bool | None) -> Tensor:
        return inside(outer(x, training), training)

    found.before = _chain(before, None, moves)
    found.unusual = True
    return found


def _refuse(
    model: keras.Model,
    operation: keras.Operation,
    function: Callable[..., Any] | None,
    kind: str,
) -> NoReturn:
    name = getattr(function, "__name__", None) or operation.name
    advice = {
        "relu": "; a ReLU hides each logit below 0, and has no gradient there: take it "
        "off the last layer",
        "twice": " after another one, so that its logits are probabilities; take "
        "one of them off",
        "sigmoids": "; several sigmoids are no distribution over classes: take them "
        "off, and compile with a loss from logits",
    }.get(kind, "; take it off the last layer")
    if name == "softmax" and kind != "twice":
        advice = " over a single class, which is always 1; end in two, or one sigmoid"
    raise InputError(
        "`model` must end in logits or in softmax. "
        f"Received: model={model.name}, whose last layer {operation.name} has the "
        f"activation {name}{advice}"
    )


def _ends_in_probabilities(tensor: keras.KerasTensor, one: bool) -> bool:
    """Whether what goes into a softmax has come out of one."""
    node = node_of(tensor)
    if node.is_input or len(node.input_tensors) != 1:
        return False
    kind = behaviour(function_of(node.operation), tensor.shape, one)
    return kind in ("softmax", "sigmoid", "sigmoids")


def _chain(
    before: Computation,
    last: keras.Operation | None,
    moves: Sequence[keras.Operation],
) -> Computation:
    def run(x: Tensor, training: bool | None) -> Tensor:
        value = before(x, training)
        for operation in (last, *moves):
            value = value if operation is None else operation(value)
        return value

    return run

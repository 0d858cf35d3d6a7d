"""Where the logits of a Keras model are: what stands at its end, and before it."""

import dataclasses
import inspect
import weakref
from collections.abc import Callable

import keras
import numpy as np
from keras import ops, tree

from keras_gce import backend
from keras_gce.errors import InputError, one_line

__all__ = ["Ending", "State", "ending_of", "of_keras", "output_spec", "softmax"]

# Operations that only move numbers about, so that a softmax may stand before them.
MOVES = ("Flatten", "Reshape", "Squeeze", "ExpandDims", "Cast")
# Room for the rounding of a bfloat16 policy.
CLOSE = 2e-2

# What is known of each model, without the model: the entry goes when the model does.
_KNOWN = weakref.WeakKeyDictionary()


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
    before: Callable | None = None
    whole: Callable | None = None
    input_shape: tuple | None = None
    output: tuple | None = None
    opaque: bool = False
    unusual: bool = False
    checked: bool = False


def ending_of(model):
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


class State:
    """What a model is made of and compiled with: what is known of it is known of that.

    As in Keras, a layer that does something else is seen once the model is compiled
    anew, and an exchanged one at once; a new activation of the last layer too.
    """

    def __init__(self, model):
        # The configuration is a new object after each `compile`.
        compiled = getattr(model, "_compile_config", None)
        layers = getattr(model, "layers", [])
        last = getattr(layers[-1], "activation", None) if layers else None
        self._parts = (compiled, last, *getattr(model, "weights", ()))

    def __eq__(self, other):
        return (
            isinstance(other, State)
            and len(self._parts) == len(other._parts)
            and all(a is b for a, b in zip(self._parts, other._parts, strict=True))
        )

    __hash__ = None


def output_spec(model, input_shape):
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


def _look(model):
    if not model.built:
        raise InputError(
            "`model` must be built: call it on a batch first, or give it a "
            f"keras.Input. Received: model={model.name}"
        )
    graph = _graph_of(model)
    if graph is None:
        return Ending(opaque=True, input_shape=_image_shape(model))
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
        compute = _computation(image, output)
        structure = output if sequential else model.output

        def whole(x, training):
            return tree.pack_sequence_as(structure, [compute(x, training)])

        ending.whole = whole
    nested = not sequential and tree.is_nested(model.input)
    if ending.before is None and (ending.whole or nested):
        ending.before = _computation(image, output)
    return ending


def _graph_of(model):
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


def _image_shape(model):
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


def _walk_back(model, image, output):
    """Walks from the output back to the softmax or sigmoid, if there is one."""
    moves, tensor = [], output
    one = len(output.shape) == 1 or output.shape[-1] == 1
    while True:
        node = _node_of(tensor)
        operation, sources = node.operation, node.input_tensors
        if len(sources) != 1 or node.is_input:
            return Ending(opaque=True)
        if isinstance(operation, keras.Model):
            number = tensor._keras_history.tensor_index
            return _of_inner(image, operation, number, sources[0], moves)
        function = _function_of(operation)
        kind = _behaviour(function, sources[0].shape, one)
        known, weightless = of_keras(type(operation)), not _has_variables(operation)
        if kind in ("softmax", "sigmoid"):
            if _ends_in_probabilities(sources[0], one):
                _refuse(model, operation, function, "twice")
            return Ending(
                kind=kind,
                before=_chain(
                    _computation(image, sources[0]), _without(operation), moves
                ),
                unusual=bool(moves) or not known,
            )
        if weightless and (kind == "linear" or type(operation).__name__ in MOVES):
            moves.insert(0, operation)
            tensor = sources[0]
            continue
        hides = function is not operation and kind not in (None, "linear")
        if hides or kind in ("relu", "sigmoids"):
            _refuse(model, operation, function, kind)
        return Ending(
            # A layer of Keras with weights and a linear end gives no probabilities;
            # what it wraps, an average and others may.
            opaque=weightless or not known or kind != "linear",
        )


def _of_inner(image, inner, number, source, moves):
    """The softmax of an inner model's output of a number is the outer one's."""
    graph = _graph_of(inner)
    if graph is None:
        return Ending(opaque=True)
    (inner_image,), inner_output = graph[0], graph[1][number]
    found = _walk_back(inner, inner_image, inner_output)
    if found.before is None:
        return found
    outer, inside = _computation(image, source), found.before

    def before(x, training):
        return inside(outer(x, training), training)

    found.before = _chain(before, None, moves)
    found.unusual = True
    return found


def _refuse(model, operation, function, kind):
    name = getattr(function, "__name__", None) or operation.name
    advice = {
        "relu": "; a ReLU hides each logit below 0, and has no gradient there: take it "
        "off the last layer",
        "twice": " after another one, so that its logits are probabilities; take "
        "one of them off",
        "sigmoids": "; several sigmoids are no distribution over classes: take them "
        "off, and compile with a loss from logits",
    }.get(kind, "; take it off the last layer")
    raise InputError(
        "`model` must end in logits or in softmax. "
        f"Received: model={model.name}, whose last layer {operation.name} has the "
        f"activation {name}{advice}"
    )


def _ends_in_probabilities(tensor, one):
    """Whether what goes into a softmax has come out of one."""
    node = _node_of(tensor)
    if node.is_input or len(node.input_tensors) != 1:
        return False
    kind = _behaviour(_function_of(node.operation), tensor.shape, one)
    return kind in ("softmax", "sigmoid", "sigmoids")


def of_keras(value):
    """Whether a class or a function is Keras's own."""
    return (value.__module__ or "").startswith("keras.")


def softmax(z):
    """Returns the softmax of an array over its last axis."""
    exp = np.exp(z - z.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def _has_variables(operation):
    # An operation that is no layer has none.
    return bool(getattr(operation, "variables", None))


def _function_of(operation):
    """What an operation does last, if that is a function without weights."""
    if isinstance(operation, keras.layers.RNN):
        return None  # Its activation is not its end.
    function = getattr(operation, "activation", None)
    if function is None and not _has_variables(operation):
        return operation
    return function


def _behaviour(function, shape, one):
    """Returns what a function without weights does to its input, in a word.

    It is tried, not named: a softmax is one whatever library it comes from. `None`:
    anything else.
    """
    if function is None or function is keras.activations.linear:
        return "linear" if function is not None else None
    sizes = [2, *(2 if size is None else size for size in shape[1:])]
    v = np.random.default_rng(0).uniform(-3, 3, sizes).astype("float32")
    try:
        # A train step may be what looks first.
        with backend.eagerly():
            value = ops.convert_to_numpy(function(ops.convert_to_tensor(v)))
    except Exception:  # It takes something else, whatever that is.
        return None
    if value.shape != v.shape:
        return None
    value = value.astype("float32")

    def same(other):
        return np.allclose(value, other, atol=CLOSE)

    if same(v):
        return "linear"
    if not one and same(softmax(v)):
        return "softmax"
    if not one and same(np.log(softmax(v))):
        return None if isinstance(function, keras.Operation) else "linear"
    if same(1 / (1 + np.exp(-v))):
        return "sigmoid" if one else "sigmoids"
    if same(np.maximum(v, 0)):
        return "relu"
    return "other" if not isinstance(function, keras.Operation) else None


def _without(operation):
    """Returns the operation without its activation, as a callable.

    Whatever else its call does (LoRA, quantisation, mixed precision) is kept, and so
    are its weights, which the twin shares. The layer itself is not touched, not even
    for a moment: another thread may be using it.
    """
    if getattr(operation, "activation", None) is None or not operation.variables:
        return None
    twin = object.__new__(type(operation))
    vars(twin).update(vars(operation))
    # Not by `setattr`, which would register a layer with what both share.
    vars(twin)["activation"] = keras.activations.linear
    return twin


def _chain(before, last, moves):
    def run(x, training):
        value = before(x, training)
        for operation in (last, *moves):
            value = value if operation is None else operation(value)
        return value

    return run


def _node_of(tensor):
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _computation(image, tensor):
    """Returns a function (images, training) -> the value of a symbolic tensor.

    As Keras's own walk over the graph of a functional model, but for the cast to an
    integer `Input`'s dtype.
    """
    order, seen = [], set()
    stack = [] if tensor is image else [(_node_of(tensor), False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen and not node.is_input:
            seen.add(id(node))
            stack.append((node, True))
            stack += [
                (_node_of(t), False) for t in node.input_tensors if t is not image
            ]
    takes_training = [
        "training" in inspect.signature(node.operation.call).parameters
        for node in order
    ]
    dtype = image.dtype if keras.backend.is_float_dtype(image.dtype) else "float32"

    def compute(x, training):
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

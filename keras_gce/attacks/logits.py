"""Finding the logits of a model, whether it ends in softmax or in logits."""

import keras
import numpy as np
from keras import ops, tree

from keras_gce import backend
from keras_gce.errors import InputError, faq

__all__ = ["ends_in_softmax", "logits_of", "unwrap"]


def logits_of(model, training=False):
    """Returns a function from images to the logits of `model`.

    A functional or sequential model may end in logits or in softmax, as the
    activation of its last layer or as a layer of its own; with softmax, what goes
    into it is returned, not its logarithm, since float32 probabilities of 0 and 1
    have no gradient and would hide weakness from an attack.

    Inside a subclassed model nothing can be seen. Its output is taken as logits,
    and `check_logits` refuses it where it turns out to be probabilities.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(3, activation="softmax")]
    ... )
    >>> x = np.ones((4, 2), "float32")
    >>> logits = logits_of(model)(x)
    >>> np.allclose(keras.ops.softmax(logits), model(x))
    True

    Args:
        model: A `keras.Model` with one input, and one output of shape `(N, K)`. Of
            one that wraps another, such as `AdversarialModel`, the wrapped one.
        training: Whether the model runs in training mode rather than in inference
            mode. Defaults to `False`.

    Returns:
        A callable: images of shape `(N, ...)` -> float32 logits of shape `(N, K)`.

    Raises:
        InputError: If `model` is no Keras model, is not built, has several inputs or
            outputs, or ends in an activation from which logits can't be had.
    """
    body, last = _split(model)

    def logits(x):
        x = x if body is None else body(x, training=training)
        if last is not None:
            x = _without_activation(last, x)
        return ops.cast(x, "float32")

    return logits


def ends_in_softmax(model):
    """Returns whether the output of `model` is the softmax of its logits."""
    _, last = _split(model)
    return last is not None


def batches(index, batch_size):
    """Returns an array in parts of at most `batch_size`."""
    return [index[i : i + batch_size] for i in range(0, len(index), batch_size)]


def predict_logits(model, x, batch_size=500):
    """Returns the logits of checked images as an array of shape `(N, K)`."""

    def run(model, x):
        return logits_of(model)(x)

    parts = [
        np.asarray(backend.run_compiled(model, "logits", run, (part,), {}))
        for part in batches(x, batch_size)
    ]
    return np.concatenate(parts or [np.zeros((0, model.output_shape[-1]), "float32")])


def check_logits(model, x):
    """Refuses a model whose `logits_of` are probabilities on the images `x`."""
    values = ops.convert_to_numpy(logits_of(model)(x[:4]))
    if values.min() >= 0 and np.allclose(values.sum(-1), 1, atol=1e-3):
        raise InputError(
            "`model` must show where its logits are: its output looks like "
            "probabilities, but no softmax is seen at its end. Make it a functional "
            "or sequential model that ends in softmax, or let it return logits. "
            f"Received: model={model.name}, output {values[0]}"
            + faq("logits-or-probabilities")
        )


def unwrap(model):
    """Returns the model inside an `AdversarialModel` and its like, or the model."""
    return model.model if getattr(model, "wraps_model", False) else model


def _split(model):
    """Returns the model up to its final softmax, and the layer that applies it.

    The layer is None where the model ends in logits.
    """
    model = unwrap(model)
    if not isinstance(model, keras.Model):
        raise InputError(f"`model` must be a keras.Model. Received: model={model!r}")
    if isinstance(model, keras.Sequential) and not model.built:
        raise InputError(
            "`model` must be built: call it on a batch first, or give it a "
            f"keras.Input. Received: model={model.name}"
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:  # a subclassed model
        return model, None
    if not inputs or not outputs:
        return model, None
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            "`model` must have one input and one output. "
            f"Received: {len(inputs)} inputs and {len(outputs)} outputs"
        )
    last = outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        # The inner model's softmax is the outer one's.
        inner_body, inner_last = _split(last)
        if inner_last is None:
            return model, None
        before = keras.Model(inputs[0], _input_of(last, outputs[0]))
        return _chain(before, inner_body), inner_last
    activation = getattr(last, "activation", None)
    if type(last).__name__ == "Softmax" or activation is keras.activations.softmax:
        return keras.Model(inputs[0], _input_of(last, outputs[0])), last
    raw = (None, keras.activations.linear, keras.activations.log_softmax)
    if activation not in raw:
        name = getattr(activation, "__name__", activation)
        raise InputError(
            "`model` must end in logits or in softmax. "
            f"Received: model={model.name}, whose last layer {last.name} has the "
            f"activation {name}"
        )
    if tree.is_nested(getattr(model, "input", None)):  # such as {"image": ...}
        return _repacked(model), None
    return model, None


def _input_of(operation, output):
    history = output._keras_history
    return operation._inbound_nodes[history.node_index].input_tensors[0]


def _repacked(model):
    return lambda x, training: model(
        tree.pack_sequence_as(model.input, [x]), training=training
    )


def _chain(first, second):
    return lambda x, training: second(first(x, training=training), training=training)


def _without_activation(layer, x):
    if type(layer).__name__ == "Softmax":
        return x
    # The layer itself without its activation: whatever else its call does (LoRA,
    # quantisation, mixed precision) is kept, and so are its weights.
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return layer(x)
    finally:
        layer.activation = activation

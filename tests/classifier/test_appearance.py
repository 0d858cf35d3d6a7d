"""Outputs that look like probabilities, and models that round their images."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as to_numpy
from twins import FOUR, ONE, SHAPE, Subclassed, under_each

from keras_gce.attacks import FGSM
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate


class SubclassedSigmoid(Subclassed):
    def __init__(self):
        super().__init__(layers.Dense(1, "sigmoid"), given=ONE)


def averaged():
    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    return keras.Model(
        inputs, layers.Average()([layers.Dense(4, "softmax")(flat) for _ in range(2)])
    )


def compiled_sigmoid():
    model = SubclassedSigmoid()
    model.compile(loss=keras.losses.BinaryCrossentropy())
    return model


OPAQUE = {
    "subclassed softmax": lambda: Subclassed(layers.Dense(4, "softmax")),
    "subclassed sigmoid": compiled_sigmoid,
    "average of softmaxes": averaged,
    "softmax in bfloat16": lambda: Subclassed(
        layers.Dense(4, "softmax", dtype="mixed_bfloat16")
    ),
}


@pytest.mark.parametrize("kind", under_each(OPAQUE, "softmax in bfloat16"))
def test_probabilities_are_refused_in_one_line(kind):
    x, y = np.random.default_rng(0).random((8, *SHAPE), "float32"), np.zeros(8, int)
    with pytest.raises(InputError, match="looks like probabilities") as error:
        FGSM(eps=0.1)(OPAQUE[kind](), x, y)
    assert "\n" not in str(error.value)


def test_few_sigmoids_are_known_by_the_loss():
    # Logits of two images may lie in [0, 1] by chance; the loss says what they are.
    model = SubclassedSigmoid()
    model.set_weights([0 * w for w in ONE])
    x, y = np.zeros((2, *SHAPE), "float32"), np.zeros(2, int)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    assert to_numpy(FGSM(eps=0.1)(model, x, y)).shape == x.shape
    model.compile(loss=keras.losses.BinaryCrossentropy())
    with pytest.raises(InputError, match="looks like probabilities"):
        FGSM(eps=0.1)(model, x, y)


def test_one_image_of_positive_logits_is_no_probability():
    model = Subclassed(layers.Dense(4))
    model.set_weights([0 * FOUR[0], 0 * FOUR[1], FOUR[2], np.array([3.0, 2, 1, 0.5])])
    x = np.random.default_rng(0).random((1, *SHAPE), "float32")
    assert to_numpy(FGSM(eps=0.1)(model, x, [0])).shape == x.shape


def test_embedded_tokens_are_refused():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(10, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).integers(0, 10, (8, 6))
    with pytest.raises(InputError, match="rounds them") as error:
        evaluate(
            model,
            (x, np.zeros(8, int)),
            FGSM(eps=1, bounds=(0, 9)),
            progress=False,
            diagnostics=False,
        )
    assert "\n" not in str(error.value)

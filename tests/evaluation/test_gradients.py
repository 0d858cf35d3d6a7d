"""Signs of masked gradients that the input gradients show."""

import keras
import numpy as np

from keras_gce.classifier import Classifier
from keras_gce.evaluation.gradients import gradient_checks


def test_zero_gradients_are_seen():
    inputs = keras.Input((3,))
    flat = keras.layers.Dense(3, kernel_initializer="zeros", bias_initializer="ones")
    masked, open_ = keras.Model(inputs, flat(inputs)), keras.Model(inputs, inputs)
    x, y = np.random.rand(10, 3).astype("float32"), np.zeros(10, "int32")
    seen, unseen = (
        gradient_checks(Classifier(model), x, y)[0] for model in (masked, open_)
    )
    assert (seen.value, seen.raised) == (1.0, True)
    assert (unseen.value, unseen.raised) == (0.0, False)

"""Recipes at the least scale: some digits, and a network whose step is traced soon."""

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_gce import datasets, recipes

# Three updates in an epoch, and the last batch a smaller one.
TRAIN, TEST, BATCH = 90, 40, 32


def data():
    digits = datasets.load("digits")
    return dataclasses.replace(
        digits, train=digits.train.take(TRAIN), test=digits.test.take(TEST)
    )


def dense(num_classes, input_shape, dtype):
    """Takes the place of `models.SmallCNN`, with half as many variables."""
    inputs = keras.Input(input_shape)
    x = layers.Flatten(dtype=dtype)(inputs)
    x = layers.Dense(24, "relu", dtype=dtype, name="features")(x)
    x = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, x)
    model.dtype_policy = dtype  # As in our models: it decides on scaling the loss.
    return model


def recipe(loss, **settings):
    settings = {"model": "small_cnn", "epochs": 3, "batch_size": BATCH} | settings
    return recipes.recipe_for("digits", loss, **settings)


def same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def adversarial(**settings):
    settings = {"adversarial": True, "eps": 0.02, "steps": 3} | settings
    return recipe("crossentropy", **settings)

"""What a model's layers do, in a form to be compared."""

import keras
import numpy as np
from keras import ops

from keras_gce import models
from keras_gce.classifier import Classifier
from keras_gce.classifier.structure import structure_of
from keras_gce.fingerprint import fingerprint


def test_models_of_the_same_weights_are_told_apart():
    def network(activation, *first):
        layers = [*first, keras.layers.Flatten(), keras.layers.Dense(4, activation)]
        model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
        model.set_weights([np.eye(16, 4), np.zeros(4)])
        return model

    networks = [
        network("relu"),
        network("tanh"),
        network("relu", keras.layers.Rescaling(0.5)),
        network("relu", keras.layers.Rescaling(0.25)),
        network("relu", keras.layers.Lambda(lambda v: ops.round(4 * v) / 4)),
        network("relu", keras.layers.Lambda(lambda v: ops.round(2 * v) / 2)),
    ]
    found = [fingerprint(structure_of(model)) for model in networks]
    assert len(set(found)) == len(found)
    # Names, which Keras numbers, tell nothing.
    assert fingerprint(structure_of(network("relu"))) == found[0]


def test_a_loaded_model_is_the_saved_one(tmp_path):
    model = models.SmallCNN()
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert structure_of(loaded) == structure_of(model)
    assert Classifier(loaded).fingerprint() == Classifier(model).fingerprint()

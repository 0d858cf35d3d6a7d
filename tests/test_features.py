"""Features, t-SNE and silhouettes."""

import keras
import numpy as np
import pytest

from keras_gce import features, models
from keras_gce.errors import InputError


def test_features_of_any_model():
    images = np.random.default_rng(0).random((7, 28, 28, 1), "float32")
    ours = models.SmallCNN()
    found = features.penultimate_features(ours, images, batch_size=3)
    logits = found @ ours.layers[-1].kernel + ours.layers[-1].bias
    np.testing.assert_allclose(logits, ours.predict(images, verbose=0), atol=1e-4)
    other = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
            keras.layers.Softmax(),
        ]
    )
    assert features.penultimate_features(other, images).shape == (7, 2 * 26 * 26)

    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.Sequential(), "model"):
        with pytest.raises(InputError, match="Received: model="):
            features.penultimate_features(model, images)


def test_tsne_keeps_to_its_seed_and_finds_clusters():
    centres = np.repeat(np.eye(3) * 30, 20, axis=0)
    points = centres + np.random.default_rng(0).normal(size=(60, 3))
    labels = np.repeat(np.arange(3), 20)
    plane = features.tsne(points)
    np.testing.assert_array_equal(plane, features.tsne(points))
    assert plane.shape == (60, 2)
    assert features.silhouette_values(plane, labels).mean() > 0.7
    for wrong in (points[:3], points[:, :1], points * np.nan):
        with pytest.raises(InputError, match="features of shape"):
            features.tsne(wrong)
    with pytest.raises(InputError, match="perplexity=0"):
        features.tsne(points, perplexity=0)


def test_silhouettes_by_hand():
    points, labels = [[0.0], [1.0], [4.0], [6.0]], [0, 0, 1, 1]
    values = features.silhouette_values(points, labels)
    # (b - a) / max(a, b), with a the distance to the twin, b the mean to the others.
    np.testing.assert_allclose(values, [4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5], rtol=1e-6)
    for wrong in ([0, 0, 0, 0], [0, 1, 2, 3], [0, 1]):
        with pytest.raises(InputError, match="Received: labels"):
            features.silhouette_values(points, wrong)

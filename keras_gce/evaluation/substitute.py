"""A substitute: a network that learns a model's answers, attacked in its place."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_gce.attacks.in_ball import LossAttack
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier, is_finite, is_right
from keras_gce.per_feature import Bounds, limits_of
from keras_gce.seeds import seeded

__all__ = ["broken_by_substitute"]

# Of the questions asked before the first attack: how many at most, also for one image,
# and of how many images.
QUESTIONS, EACH, IMAGES = 2000, 30, 500
ROUNDS, EPOCHS, BATCH = 3, 3, 128


def broken_by_substitute(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    pool: np.ndarray,
    attack: LossAttack,
) -> np.ndarray:
    """Returns which images fall to the adversarial examples of a substitute.

    The substitute is trained on the model's own answers: to images, to mixtures of two,
    to points around them, and, from its second round on, to its own adversarial
    examples. So it needs neither the gradient of the model nor another model, and sees
    what a masked gradient hides.

    Args:
        classifier: The `Classifier` of the model.
        x: Checked images of shape `(N, ...)`, which the model gets right.
        y: Their classes, of shape `(N,)`.
        pool: More images, of shape `(M, ...)`; of the first 500 the model is asked.
        attack: PGD or Auto-PGD, which the substitute is attacked by in each of
            three rounds.

    Returns:
        Boolean array of shape `(N,)`.

    Reference:
        Papernot et al., "Practical Black-Box Attacks against Machine Learning", 2017
        (arXiv 1602.02697), section 4.
    """
    rng = np.random.default_rng(0)
    broken = np.zeros(len(x), bool)
    images, answers = _asked(classifier, _questions(pool[:IMAGES], attack, rng))
    with seeded(0):
        network = _network(
            x.shape[1:], classifier.data_format, classifier.num_classes, attack.bounds
        )
        substitute = Classifier(network)
        for number in range(ROUNDS):
            if len(images):
                network.fit(images, answers, BATCH, EPOCHS, verbose=0)
            x_adv = np.asarray(attack.run(substitute, x, y, seed=number))
            z = classifier.predict(x_adv)
            broken |= ~is_right(z, y)
            finite = is_finite(z)
            images = np.concatenate([images, x_adv[finite]])
            answers = np.concatenate([answers, z[finite].argmax(-1)])
    return broken


def _asked(classifier: Classifier, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = classifier.predict(images)
    finite = is_finite(z)
    return images[finite], z[finite].argmax(-1)


def _questions(
    images: np.ndarray, attack: LossAttack, rng: np.random.Generator
) -> np.ndarray:
    """Images, mixtures of two of them, and points up to two radii away."""
    low, high = limits_of(attack.bounds)
    # Of a step of one size at every pixel; in units of the features' radii.
    radius = np.asarray(attack.eps, "float32")
    if attack.norm == "l2":
        radius = radius * np.float32(2 / np.sqrt(images[0].size))
    if attack.norm == "l1":
        radius = radius * np.float32(2 / images[0].size)
    shares = (-1, *(1,) * (images.ndim - 1))
    parts = [images]
    for number in range(min(max(QUESTIONS // len(images), 2), EACH) - 1):
        part = images
        if number % 2:
            share = rng.random(len(images), "float32").reshape(shares)
            part = share * images + (1 - share) * rng.permutation(images)
        size = 2 * radius * rng.random(len(images), "float32").reshape(shares)
        noise = size * (2 * rng.random(images.shape, "float32") - 1)
        parts.append(np.clip(part + noise, low, high, dtype="float32"))
    return np.concatenate(parts)


def _network(
    shape: tuple[int, ...],
    data_format: str,
    num_classes: int,
    bounds: Bounds,
) -> keras.Model:
    """Two convolutions where there is room for them, and two dense layers."""
    # Named, so that the models that the user makes afterwards keep their numbers; in
    # float32, whatever the global policy is.
    inputs = keras.Input(shape, dtype="float32", name="images")
    parts: list[keras.Layer] = [_Unit(*limits_of(bounds), name="unit")]
    if len(shape) == 3 and data_format == "channels_first":
        parts.append(layers.Permute((2, 3, 1), dtype="float32", name="channels_last"))
    if len(shape) == 3 and sorted(shape)[1] >= 8:
        parts += [_convolution(16, 5), _convolution(32, 3)]
    parts += [
        layers.Flatten(data_format="channels_last", dtype="float32", name="flat"),
        layers.Dense(64, "relu", dtype="float32", name="hidden"),
        layers.Dense(num_classes, dtype="float32", name="logits"),
    ]
    x = inputs
    for part in parts:
        x = part(x)
    network = keras.Model(inputs, x, name="substitute")
    network.compile(
        keras.optimizers.Adam(3e-3, name="adam"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return network


class _Unit(layers.Layer):
    """Images in [0, 1]. Keras's Rescaling asks for TensorFlow, which may be missing."""

    def __init__(self, low: Any, high: Any, name: str) -> None:
        super().__init__(dtype="float32", name=name)
        self.low, self.high = low, high

    def call(self, x: Tensor) -> Tensor:
        low, high = ops.convert_to_tensor(self.low), ops.convert_to_tensor(self.high)
        return (x - low) / (high - low)


def _convolution(filters: int, size: int) -> keras.Layer:
    return layers.Conv2D(
        filters,
        size,
        strides=2,
        padding="same",
        activation="relu",
        data_format="channels_last",
        dtype="float32",
        name=f"convolution{size}",
    )

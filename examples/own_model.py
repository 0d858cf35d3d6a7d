"""Your own model: a network of keras.applications that ends in softmax.

    python examples/own_model.py

Attacks change images in [0, 1], so what the network wants of them, its size, its
channels and its scale, are layers of the model, and the attack passes through them.
With KERAS_GCE_SMALL=1 it trains and attacks for seconds only.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras

import keras_gce
from keras_gce.attacks import PGD

small = os.environ.get("KERAS_GCE_SMALL") == "1"
data = keras_gce.datasets.load("digits")

keras.utils.set_random_seed(0)
inputs = keras.Input((28, 28, 1))
x = keras.layers.Resizing(32, 32)(inputs)
x = keras.layers.Concatenate()([x, x, x])
x = keras.layers.Rescaling(2.0, offset=-1.0)(x)  # MobileNet is for pixels in [-1, 1].
network = keras.applications.MobileNet(
    input_shape=(32, 32, 3),
    alpha=0.25,
    weights=None,
    classes=data.num_classes,
    classifier_activation="softmax",
)
# Its own momentum, 0.99, lags too far behind in a short training.
for layer in network.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.9
model = keras.Model(inputs, network(x), name="mobilenet")

# The softmax inside the network is found: attacks go through the logits before it.
model.compile(
    "adam", loss=keras_gce.losses.GuidedComplementEntropy(), metrics=["accuracy"]
)
images, labels = data.train.take(64).arrays() if small else data.train.arrays()
model.fit(images, labels, batch_size=32, epochs=1 if small else 20, verbose=0)

report = keras_gce.evaluate(
    model,
    data.test.take(20 if small else 200),
    PGD(eps=0.05, step_size=0.01, steps=3 if small else 20),
    progress=not small,
)
print(report.to_markdown())

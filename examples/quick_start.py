"""One line changes the loss; a few more say whether the model is more robust now.

    python examples/quick_start.py

Your own Keras model, here one that ends in softmax, on digits. With KERAS_GCE_SMALL=1
it trains and attacks for seconds only.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras

import keras_gce
from keras_gce.attacks import FGSM, PGD

small = os.environ.get("KERAS_GCE_SMALL") == "1"
data = keras_gce.datasets.load("digits")
images, labels = data.train.arrays()

for loss in (
    keras.losses.SparseCategoricalCrossentropy(),
    keras_gce.losses.GuidedComplementEntropy(),
):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name=loss.name,
    )
    model.compile("adam", loss=loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=64, epochs=2 if small else 30, verbose=0)
    report = keras_gce.evaluate(
        model,
        data.test.take(50) if small else data.test,
        [FGSM(eps=0.1), PGD(eps=0.1, steps=5 if small else 40)],
        progress=not small,
    )
    print(report.to_markdown())

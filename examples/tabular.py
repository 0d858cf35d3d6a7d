"""A table: features that may not change, and each with a radius of its own.

    python examples/tabular.py

Chemical analyses of 178 Italian wines, by three growers (scikit-learn's `load_wine`):
13 features. Measurements err by a share of each feature's spread; what anyone sees in
the glass, colour and hue, does not. With KERAS_GCE_SMALL=1 it trains and attacks for
seconds only.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import keras_gce
from keras_gce.attacks import PGD, AutoAttack

small = os.environ.get("KERAS_GCE_SMALL") == "1"
wine = load_wine()
x_train, x_test, y_train, y_test = train_test_split(
    wine.data.astype("float32"),
    wine.target,
    test_size=0.5,
    stratify=wine.target,
    random_state=0,
)

# Features stay in their own units: what normalises them is part of the model.
normalization = keras.layers.Normalization()
normalization.adapt(x_train)
# What a feature can be: half as little or as much again as anyone has measured.
bounds = (0.5 * wine.data.min(axis=0), 1.5 * wine.data.max(axis=0))
# How far it may be off: half its spread, and not at all where anyone sees it.
everything = 0.5 * x_train.std(axis=0)
hidden = everything.copy()
for name in ("color_intensity", "hue"):
    hidden[wine.feature_names.index(name)] = 0


def network():
    """A small network that was not trained yet."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    layers = [normalization, dense(32, "relu"), dense(32, "relu"), dense(3)]
    return keras.Sequential([keras.Input((13,)), *layers])


losses = {
    "cross-entropy": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "GCE": keras_gce.losses.GuidedComplementEntropy(from_logits=True),
}
for name, loss in losses.items():
    model = network()
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x_train, y_train, epochs=5 if small else 100, verbose=0)
    for what, eps in {"all features": everything, "colour fixed": hidden}.items():
        attacks = [
            PGD(eps=eps, bounds=bounds, seed=0),
            AutoAttack(eps=eps, bounds=bounds, seed=0),
        ]
        some = slice(20) if small else slice(None)
        report = keras_gce.evaluate(
            model, (x_test[some], y_test[some]), attacks, progress=False
        )
        print(
            f"{name}, {what}: {report.clean_accuracy:.1%} right, "
            f"{report.worst_case_accuracy:.1%} within the radii"
        )
print(report.to_markdown())

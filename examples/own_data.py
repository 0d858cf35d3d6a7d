"""Your own images and labels: an .npz file, which the command line takes too.

    python examples/own_data.py

The file has Keras's keys, x_train, y_train, x_test and y_test. Here it holds outlines
of four shapes, drawn below. Everything is written to keras_gce_output/own_data. With
KERAS_GCE_SMALL=1 it trains and attacks for seconds only.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import pathlib
import shlex

import numpy as np

from keras_gce import cli, datasets

small = os.environ.get("KERAS_GCE_SMALL") == "1"
folder = pathlib.Path("keras_gce_output/own_data")
folder.mkdir(parents=True, exist_ok=True)


def shapes(n, rng):
    """Circles, squares, diamonds and crosses on noise: images and labels."""
    axis = np.linspace(-1, 1, 28)
    centre = rng.uniform(-0.3, 0.3, (2, n, 1, 1))
    size = rng.uniform(0.4, 0.7, (n, 1, 1))
    x, y = np.abs(axis - centre[0]), np.abs(axis[:, None] - centre[1])
    distances = np.stack(
        [np.hypot(x, y), np.maximum(x, y), x + y, size + np.minimum(x, y)]
    )
    labels = rng.integers(len(distances), size=n)
    outline = np.abs(distances[labels, np.arange(n)] - size) < 0.1
    inside = np.maximum(x, y) < size + 0.1
    noise = rng.uniform(0, 0.3, outline.shape)
    images = np.where(outline & inside, 0.8, 0.0) + noise / 2
    return np.round(255 * images).astype("uint8"), labels


rng = np.random.default_rng(0)
x_train, y_train = shapes(500 if small else 2000, rng)
x_test, y_test = shapes(500, rng)
# uint8 of shape (N, H, W) or (N, H, W, C), or floats in [0, 1]; labels from 0 on.
file = folder / "shapes.npz"
np.savez_compressed(
    file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
)

data = datasets.load(file)
print(data.train, data.validation, data.test, sep="\n")


def keras_gce(command):
    """What `keras-gce COMMAND` does in a shell, without a second start of Keras."""
    print(f"\n$ keras-gce {command}")
    if cli.main(shlex.split(command)) != 0:
        raise SystemExit(f"failed: keras-gce {command}")


model, epochs = folder / "model.keras", 2 if small else 20
keras_gce(
    f"train --dataset {file} --model small_cnn --epochs {epochs} --output {model}"
)
keras_gce(
    f"evaluate {model} --dataset {file} --eps 0.1 --attacks fgsm,pgd "
    f"--examples {50 if small else 500} --html {folder / 'report.html'}"
)

"""Figures 2 and 3 of the paper: the losses themselves."""

import keras
import numpy as np

from keras_gce import losses, plotting
from keras_gce.recipes.reproduction import Figure

__all__ = ["figure2", "figure3"]

# The paper's.
ALPHAS = {"1": 1.0, "1/2": 1 / 2, "1/3": 1 / 3, "1/10": 1 / 10}


def figure2() -> Figure:
    """Returns figure 2: the losses over the predictions of 3 classes."""
    named = {"complement entropy": losses.ComplementEntropy(normalize=True)}
    for text, alpha in ALPHAS.items():
        named[f"GCE, alpha {text}"] = losses.GuidedComplementEntropy(alpha)
    rows, numbers = [], []
    for name, loss in named.items():
        points, values = plotting.simplex_values(loss)
        where = plotting.least_predictions(points, values)
        ends = [f"({', '.join(f'{p:.2f}' for p in end)})" for end in where[[0, -1]]]
        text = ends[0] if len(where) == 1 else f"from {ends[0]} to {ends[1]}, all along"
        rows.append([name, f"{values.min():.2f}", text])
        numbers.append(
            {"loss": name, "minimum": values.min(), "where": where[[0, -1]].tolist()}
        )
    title = "Losses over the predictions of 3 classes, normalised"
    return Figure(
        name="figure2",
        caption="The losses over the predictions of 3 classes, normalised, class 0 "
        "true.",
        columns=["loss", "minimum", "where (p0, p1, p2)"],
        rows=rows,
        numbers=numbers,
        picture=plotting.loss_simplexes(named, title=title),
    )


def figure3() -> Figure:
    """Returns figure 3: GCE where the wrong classes are equally probable."""
    alphas = [0.0, *sorted(ALPHAS.values())]
    line = np.array([(0.1, *[0.1] * 9), (0.5, *[0.5 / 9] * 9), (1.0, *[0.0] * 9)])
    rows, numbers = [], []
    for alpha in alphas:
        values = losses.guided_complement_entropy(
            np.zeros(3, "int32"), line.astype("float32"), alpha
        )
        values = keras.ops.convert_to_numpy(values).tolist()
        rows.append([f"{alpha:.3g}", *(f"{value:.3f}" for value in values)])
        numbers.append({"alpha": alpha, "p": line[:, 0].tolist(), "loss": values})
    return Figure(
        name="figure3",
        caption="GCE of 10 classes, normalised, the 9 wrong ones equally probable.",
        columns=["alpha", "p = 0.1", "p = 0.5", "p = 1"],
        rows=rows,
        numbers=numbers,
        picture=plotting.loss_profile(alphas),
    )

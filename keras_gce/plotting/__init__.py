"""Figures, as matplotlib's, from losses, features, reports and histories.

Series differ in marker and dash as well as in colour, and colours are those that
colour-blind readers tell apart. What is drawn is computed apart from the drawing:
`simplex_values` here, `penultimate_features`, `tsne` and `silhouette_values` in
`keras_gce.features`, by whose names here they are known too.
"""

from keras_gce.features import penultimate_features, silhouette_values, tsne
from keras_gce.plotting.alpha import alpha_accuracy
from keras_gce.plotting.clusters import embedding, embeddings, silhouettes
from keras_gce.plotting.history import training_curves
from keras_gce.plotting.losses import (
    least_predictions,
    loss_profile,
    loss_simplex,
    loss_simplexes,
    simplex_values,
)
from keras_gce.plotting.paired import paired_differences
from keras_gce.plotting.robustness import accuracy_curves, adversarial_examples

__all__ = [
    "accuracy_curves",
    "adversarial_examples",
    "alpha_accuracy",
    "embedding",
    "embeddings",
    "least_predictions",
    "loss_profile",
    "loss_simplex",
    "loss_simplexes",
    "paired_differences",
    "penultimate_features",
    "silhouette_values",
    "silhouettes",
    "simplex_values",
    "training_curves",
    "tsne",
]

"""The paper's experiments: how each model is trained, the tables and the figures."""

from keras_gce.recipes.figures import FIGURES, reproduce_figure
from keras_gce.recipes.recipe import (
    DTYPE_POLICIES,
    LOSSES,
    Recipe,
    network,
    optimizer,
    recipe_for,
    train,
)
from keras_gce.recipes.table2 import reproduce_table2
from keras_gce.recipes.tables import reproduce
from keras_gce.recipes.trainer import run

__all__ = [
    "DTYPE_POLICIES",
    "FIGURES",
    "LOSSES",
    "Recipe",
    "network",
    "optimizer",
    "recipe_for",
    "reproduce",
    "reproduce_figure",
    "reproduce_table2",
    "run",
    "train",
]

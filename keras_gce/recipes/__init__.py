"""The paper's experiments: how each model is trained, and the tables to re-run."""

from keras_gce.recipes.recipe import (
    LOSSES,
    Recipe,
    network,
    optimizer,
    recipe_for,
    train,
)
from keras_gce.recipes.run import run
from keras_gce.recipes.table2 import reproduce_table2
from keras_gce.recipes.tables import reproduce

__all__ = [
    "LOSSES",
    "Recipe",
    "network",
    "optimizer",
    "recipe_for",
    "reproduce",
    "reproduce_table2",
    "run",
    "train",
]

"""The paper's experiments: how each model is trained, the tables and the figures."""

from keras_gce.names import DTYPE_POLICIES, FIGURES, LOSSES
from keras_gce.recipes.figures import reproduce_figure
from keras_gce.recipes.networks import network, optimizer
from keras_gce.recipes.outer_loss import reproduce_outer_loss
from keras_gce.recipes.recipe import Recipe, recipe_for
from keras_gce.recipes.reproduction import Figure
from keras_gce.recipes.runs import run
from keras_gce.recipes.table2 import ErrorTable, reproduce_table2
from keras_gce.recipes.tables import Table, reproduce
from keras_gce.recipes.trainer import train
from keras_gce.recipes.watching import watchers

__all__ = [
    "DTYPE_POLICIES",
    "FIGURES",
    "LOSSES",
    "ErrorTable",
    "Figure",
    "Recipe",
    "Table",
    "network",
    "optimizer",
    "recipe_for",
    "reproduce",
    "reproduce_figure",
    "reproduce_outer_loss",
    "reproduce_table2",
    "run",
    "train",
    "watchers",
]

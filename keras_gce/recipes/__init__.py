"""The paper's experiments: how each model is trained, and the tables to re-run."""

from keras_gce.recipes.recipe import LOSSES, Recipe, recipe_for, train
from keras_gce.recipes.run import run
from keras_gce.recipes.table3 import reproduce_table3

__all__ = ["LOSSES", "Recipe", "recipe_for", "reproduce_table3", "run", "train"]

"""What is built from a recipe: its network, its optimizer, its loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_gce import losses, models, training
from keras_gce.attacks import PGD
from keras_gce.datasets import Dataset
from keras_gce.names import OBJECTIVES
from keras_gce.recipes.recipe import Recipe

__all__ = [
    "compiled",
    "in_float32",
    "loss",
    "network",
    "optimizer",
    "steps_per_epoch",
]

# What `names.NETWORKS` promises.
MODELS: dict[str, Callable[..., keras.Model]] = {
    "lenet5": models.LeNet5,
    "resnet20": models.ResNet20,
    "resnet56": models.ResNet56,
    "resnet50": models.ResNet50,
    "small_cnn": models.SmallCNN,
}


def network(recipe: Recipe, dataset: Dataset) -> keras.Model:
    """Returns the recipe's network for a dataset, a new one, not compiled."""
    settings = {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    return MODELS[recipe.model](
        num_classes=dataset.num_classes,
        input_shape=dataset.train.images.shape[1:],
        dtype=recipe.dtype_policy or "float32",
        **settings,
    )


def optimizer(recipe: Recipe, dataset: Dataset) -> keras.optimizers.Optimizer:
    """Returns the recipe's optimizer for a dataset, a new one."""
    averages: dict[str, Any] = {}
    if recipe.ema is not None:
        updates = max(1.0, recipe.ema * steps_per_epoch(recipe, dataset))
        averages = {"use_ema": True, "ema_momentum": 1 - 1 / updates}
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(1e-3, beta_2=0.99, **averages)
    total = recipe.epochs * steps_per_epoch(recipe, dataset)
    if recipe.optimizer == "adam_cosine":
        falling = keras.optimizers.schedules.CosineDecay(4e-3, total)
        return keras.optimizers.Adam(falling, beta_2=0.99, **averages)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [total // 2, total * 3 // 4], [0.1, 0.01, 0.001]
    )
    return keras.optimizers.SGD(rate, momentum=0.9, **averages)


def loss(recipe: Recipe) -> keras.losses.Loss:
    """Returns the loss that the recipe compiles with; COT adds its own to it."""
    if recipe.loss == "guided_complement_entropy":
        alpha: Any = recipe.alpha  # Of this loss it is a number.
        return losses.GuidedComplementEntropy(alpha, from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def steps_per_epoch(recipe: Recipe, dataset: Dataset) -> int:
    """Returns the number of updates in an epoch."""
    return -(-len(dataset.train) // recipe.batch_size)


def compiled(
    recipe: Recipe, dataset: Dataset, model: keras.Model, seed: int
) -> keras.Model:
    """Returns what trains a network, compiled: the network itself or its wrapper."""
    trainer = model
    if recipe.loss == "cot":
        trainer = training.ComplementObjectiveModel(model)
    elif recipe.eps is not None:
        attack: dict[str, Any] = {
            "eps": recipe.eps,
            "steps": recipe.steps,
            "step_size": recipe.step_size,
        }
        trainer = training.AdversarialModel(
            model,
            PGD(**attack, seed=seed),
            objective=_objective(recipe),
            warmup_steps=round(recipe.warmup_epochs * steps_per_epoch(recipe, dataset)),
            weight_perturbation=(
                None if recipe.awp is None else training.AWP(recipe.awp)
            ),
        )
    trainer.compile(optimizer(recipe, dataset), loss(recipe), metrics=["accuracy"])
    return trainer


def _objective(recipe: Recipe) -> training.Objective | None:
    """Returns what takes the place of the loss alone."""
    if recipe.objective is None:
        return None
    made: training.Objective = getattr(training, OBJECTIVES[recipe.objective])()
    return made


def in_float32(recipe: Recipe, dataset: Dataset, model: keras.Model) -> keras.Model:
    """Returns a model that was trained in mixed precision as one of float32.

    An attack must not fail because a gradient is too small for float16.
    """
    plain = network(dataclasses.replace(recipe, dtype_policy=None), dataset)
    plain.set_weights(model.get_weights())
    old = model.optimizer
    if recipe.dtype_policy == "mixed_float16":
        # Keras's `compile` has wrapped it in one that scales the loss.
        old = old.inner_optimizer
    new = type(old).from_config(old.get_config())
    new.build(plain.trainable_variables)
    for variable, value in zip(new.variables, old.variables, strict=True):
        variable.assign(value)
    plain.compile(new, loss(recipe), metrics=["accuracy"])
    return plain

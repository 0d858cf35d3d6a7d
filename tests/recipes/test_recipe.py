"""Recipes: how the paper's models are trained, settings alone."""

import pytest

from keras_gce import names, recipes
from keras_gce.errors import InputError


def test_recipes_of_the_paper():
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.3, 40, 0.01)
    assert (recipe.epochs, recipe.warmup_epochs) == (20, 1)
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True, epochs=2)
    assert recipe.warmup_epochs == 0.5
    recipe = recipes.recipe_for("cifar10", "crossentropy", adversarial=True, eps=0.08)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.08, 10, 0.02)
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial=True, steps=10)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.3, 10, 0.075)
    assert recipes.recipe_for("mnist", "cot").eps is None


def test_fast_adversarial_training():
    """As Wong et al. have it; eps grows as in PGD's."""
    recipe = recipes.recipe_for("mnist", "crossentropy", adversarial="fast", eps=0.2)
    assert (recipe.eps, recipe.steps, recipe.step_size) == (0.2, 1, 0.25)
    assert recipe.one_step and recipe.warmup_epochs == 1
    named = recipes.recipe_for("mnist", "crossentropy", adversarial="pgd")
    assert named == recipes.recipe_for("mnist", "crossentropy", adversarial=True)
    assert not named.one_step


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"epochs": 0}, "epochs=0"),
        ({"adversarial": True, "steps": 0}, "steps=0"),
        ({"adversarial": True, "eps": 0.0}, "eps=0.0"),
        ({"adversarial": True, "eps": float("nan")}, "eps=nan"),
        ({"eps": 0.1}, "adversarial=False"),
        ({"dtype_policy": "float16"}, "dtype_policy='float16'"),
        ({"adversarial": True, "loss": "cot"}, "loss='cot'"),
        ({"awp": 0.01}, "awp=0.01, adversarial=False"),
        ({"adversarial": True, "awp": 0.0}, "awp=0.0"),
        ({"adversarial": "free"}, "adversarial='free'"),
        ({"adversarial": "fast", "steps": 2}, "steps=2"),
        ({"ema": float("nan")}, "ema=nan"),
        ({"ema": 0.0}, "ema=0.0"),
        ({"ema": 0.9, "loss": "cot"}, "ema=0.9, loss='cot'"),
    ],
)
def test_recipe_for_refuses(settings, received):
    with pytest.raises(InputError, match=received):
        recipes.recipe_for("mnist", **{"loss": "crossentropy"} | settings)


def test_names():
    recipe = recipes.recipe_for("mnist", "guided_complement_entropy")
    assert recipe.name == "guided_complement_entropy"
    recipe = recipes.recipe_for("mnist", "guided_complement_entropy", 1 / 2)
    assert recipe.name == "guided_complement_entropy-alpha0.5"
    settings = {"adversarial": True, "dtype_policy": "mixed_bfloat16"}
    recipe = recipes.recipe_for("cifar10", "crossentropy", **settings)
    assert recipe.name == "crossentropy-eps0.04-mixed_bfloat16"
    assert recipe.described == (
        "resnet56, PGD adversarial training (eps 0.04, 10 steps of 0.01, eps grown "
        "over the first 1 epoch(s)), 200 epochs in mixed_bfloat16"
    )
    perturbed = recipes.recipe_for("cifar10", "crossentropy", awp=0.01, **settings)
    assert perturbed.name == "crossentropy-eps0.04-awp0.01-mixed_bfloat16"
    assert (
        "1 epoch(s)), weights perturbed (AWP, gamma 0.01), 200" in perturbed.described
    )
    assert recipe.folder(3) == recipe.name + "-seed3"
    assert recipes.recipe_for("cifar10", "cot").name == "cot"
    recipe = recipes.recipe_for("cifar10", "crossentropy", ema=0.5)
    assert recipe.name == "crossentropy-ema0.5"
    # What the command line offers.
    assert recipes.LOSSES is names.LOSSES
    assert recipes.DTYPE_POLICIES is names.DTYPE_POLICIES

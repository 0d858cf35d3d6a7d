"""What is built from a recipe."""

import keras
import pytest
from recipes import tiny

from keras_gce import losses, models, names, recipes, training
from keras_gce.attacks import PGD
from keras_gce.recipes import networks


def test_every_network_that_is_offered_is_there():
    assert tuple(networks.MODELS) == names.NETWORKS
    assert networks.MODELS["resnet56"] is models.ResNet56


def test_a_recipe_s_precision_is_its_network_s(data):
    for policy in names.DTYPE_POLICIES:
        recipe = tiny.recipe("crossentropy", dtype_policy=policy)
        features = recipes.network(recipe, data).get_layer("features")
        assert features.compute_dtype == policy.removeprefix("mixed_")


def test_rates_fall_at_one_half_and_at_three_quarters(data):
    recipe = recipes.recipe_for("cifar10", "crossentropy", epochs=4, batch_size=30)
    sgd = recipes.optimizer(recipe, data)
    assert networks.steps_per_epoch(recipe, data) == 3 and sgd.momentum == 0.9
    rate = sgd.get_config()["learning_rate"]["config"]
    assert (rate["boundaries"], rate["values"]) == ([6, 9], [0.1, 0.01, 0.001])
    adam = recipes.optimizer(tiny.recipe("cot"), data)
    assert float(adam.learning_rate) == pytest.approx(1e-3) and adam.beta_2 == 0.99


def test_averages_are_over_the_updates_of_epochs(data):
    assert not recipes.optimizer(tiny.recipe("crossentropy"), data).use_ema
    # Of three updates each.
    for epochs, momentum in ((2, 5 / 6), (0.1, 0)):
        adam = recipes.optimizer(tiny.recipe("crossentropy", ema=epochs), data)
        assert adam.use_ema and adam.ema_momentum == pytest.approx(momentum)


def test_what_trains_a_network(data):
    def built(recipe):
        model = recipes.network(recipe, data)
        return model, networks.compiled(recipe, data, model, seed=7)

    for name in ("crossentropy", "guided_complement_entropy"):
        model, trainer = built(tiny.recipe(name))
        assert trainer is model
    assert isinstance(trainer.loss, losses.GuidedComplementEntropy)
    assert trainer.loss.alpha == 1 / 3
    model, trainer = built(tiny.recipe("cot"))
    assert isinstance(trainer, training.ComplementObjectiveModel)
    assert isinstance(trainer.loss, keras.losses.SparseCategoricalCrossentropy)
    assert trainer.model is model
    recipe = tiny.adversarial(epochs=4)
    model, trainer = built(recipe)
    assert isinstance(trainer, training.AdversarialModel) and trainer.model is model
    attack = trainer.attack
    assert (attack.eps, attack.steps, attack.seed) == (0.02, 3, 7)
    assert (trainer.warmup_steps, recipe.warmup_epochs) == (3, 1)
    _, fast = built(tiny.recipe("crossentropy", adversarial="fast", eps=0.2))
    assert fast.attack == PGD(eps=0.2, step_size=0.25, steps=1, seed=7)

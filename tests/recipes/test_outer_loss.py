"""The experiment on the outer loss: its runs, what is paired, and what it resumes."""

import dataclasses
import json

import keras
import pytest
from PIL import Image
from recipes import tiny

from keras_gce import cli, recipes
from keras_gce.attacks import AutoAttack
from keras_gce.errors import InputError
from keras_gce.recipes import given, networks, outer_loss, trainer
from keras_gce.recipes.paired import Paired, t_quantile
from keras_gce.training import MART, TRADES


# Of tables of Student's distribution, 0.975, such as Abramowitz and Stegun's 26.10.
@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)],
)
def test_quantiles(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, abs=6e-4)


def test_pairs():
    # By hand: mean 1, deviation 2, so 1 +- 3.182 * 2 / sqrt(4).
    found = Paired.of([10, 20, 30, 40], [8, 22, 32, 42])
    assert (found.mean, found.deviation, found.effect, found.wins) == (1, 2, 0.5, 3)
    assert found.interval == pytest.approx((-2.182, 4.182), abs=6e-4)
    assert found.to_dict()["differences"] == [-2, 2, 2, 2]
    alone = Paired.of([10], [12])
    assert (alone.mean, alone.interval, alone.effect) == (2, None, None)
    level = Paired.of([1, 1], [1, 1])
    assert (level.interval, level.effect, level.wins) == ((0, 0), None, 0)


def test_objectives_of_recipes(data):
    for name, objective in (("trades", TRADES()), ("mart", MART())):
        recipe = tiny.adversarial(objective=name)
        model = networks.network(recipe, data)
        assert networks.compiled(recipe, data, model, 0).objective == objective
        assert recipe.name == f"crossentropy-eps0.02-{name}"
        assert recipe.described.startswith(f"small_cnn, {name.upper()}, PGD")
        assert recipe.settings["objective"] == name
        assert given._recipe({"recipe": recipe.settings}) == recipe
    # A folder of before, which knows no objective, is one of its recipe still.
    assert "objective" not in tiny.adversarial().settings
    assert given._recipe(tiny.adversarial().settings) == tiny.adversarial()
    for settings in ({"objective": "awp"}, {"objective": "mart", "adversarial": False}):
        with pytest.raises(InputError, match=f"objective='{settings['objective']}'"):
            tiny.recipe("crossentropy", **{"adversarial": True, **settings})


def test_recipes_differ_in_loss_and_objective_alone(data):
    recipes_ = outer_loss._recipes("mnist", 20, "small_cnn", None)
    kinds = {(recipe.objective, recipe.loss, recipe.alpha) for recipe in recipes_}
    assert len(kinds) == len(recipes_) == 4
    same = {"objective": None, "loss": "crossentropy", "alpha": None}
    assert len({dataclasses.replace(recipe, **same) for recipe in recipes_}) == 1
    (recipe, *_) = recipes_
    assert (recipe.eps, recipe.steps, recipe.warmup_epochs) == (0.15, 7, 2.0)
    # 90 images are three updates an epoch.
    rate = networks.optimizer(recipe, data).get_config()["learning_rate"]["config"]
    assert (rate["initial_learning_rate"], rate["decay_steps"]) == (4e-3, 60)
    (recipe, *_) = outer_loss._recipes("cifar10", None, None, None)
    assert (recipe.model, recipe.optimizer, recipe.epochs) == ("resnet56", "sgd", 200)


def test_refuses(tmp_path):
    with pytest.raises(InputError, match="dataset_name='cifar100'"):
        recipes.reproduce_outer_loss("cifar100", tmp_path)
    with pytest.raises(InputError, match="train_images=0"):
        recipes.reproduce_outer_loss("digits", tmp_path, train_images=0)


@pytest.fixture
def soon_attacked(monkeypatch):
    """AutoAttack's first two attacks with a few steps; all of it is its own tests'."""

    class Few(AutoAttack):
        @property
        def attacks(self):
            first, targeted, *_ = super().attacks
            few = dataclasses.replace(targeted, steps=2, num_targets=1)
            return dataclasses.replace(first, steps=2), few

    monkeypatch.setattr(outer_loss, "AutoAttack", Few)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_by_the_command_line(capsys, tmp_path, few, epochs, soon_attacked, monkeypatch):
    monkeypatch.setattr(outer_loss, "SETTINGS", {"digits": (0.02, 32, 0.25)})
    monkeypatch.setattr(outer_loss, "STEPS", 2)
    arguments = ["reproduce", "outer_loss", "--dataset", "digits", "--epochs", "4"]
    arguments += ["--model", "small_cnn", "--examples", "20", "--train-images", "64"]
    arguments += ["--output", str(tmp_path)]
    assert cli.main([*arguments, "--seeds", "1"]) == 0
    assert epochs == [0, 1, 2, 3] * 4
    out, err = capsys.readouterr()
    assert out.startswith((tmp_path / "outer_loss.md").read_text())
    assert "digits, guided_complement_entropy-eps0.02-trades-seed0: " in err
    assert Image.open(tmp_path / "outer_loss.png").size[0] == 1400
    numbers = json.loads((tmp_path / "outer_loss.json").read_text())
    assert (numbers["train_images"], numbers["examples"]) == (64, 20)
    for training, objective in zip(numbers["trainings"], (None, "trades"), strict=True):
        for model in training["models"]:
            assert model["recipe"]["objective"] == objective
            (curve,), (accuracies,) = model["curves"], model["accuracies_percent"]
            assert [point["epoch"] for point in curve] == [1, 2, 3, 4]
            last = 100 * curve[-1]["clean_accuracy"]
            assert last == pytest.approx(accuracies["clean"])
    # All of it is there: nothing is trained or attacked again.
    monkeypatch.setattr(outer_loss.PGD, "run", None)
    text = (tmp_path / "outer_loss.md").read_text()
    assert cli.main([*arguments, "--seed", "0"]) == 0
    assert (tmp_path / "outer_loss.md").read_text() == text
    assert epochs == [0, 1, 2, 3] * 4


def test_differences_are_paired(tmp_path):
    robust = {"crossentropy": [70.0, 60.0, 65.0], "guided_complement_entropy": [72.0]}
    robust["guided_complement_entropy"] += [61.0, 68.0]
    runs = {}
    for recipe in outer_loss._recipes("digits", 40, "small_cnn", None):
        runs[recipe] = [
            outer_loss.Run(
                accuracies={
                    **{"clean": 90.0, "training": 80.0, "crossentropy": 75.0},
                    "autoattack": value,
                },
                # The second seed has one point less.
                curve=[
                    {"epoch": epoch, "robust_accuracy": value / 100}
                    for epoch in ((4, 8) if value != 61 else (8,))
                ],
            )
            for value in robust[recipe.loss]
        ]
    figure = outer_loss.figure(runs, range(3), 500, 100)
    # By hand: differences 2, 1, 3; 2 +- 4.303 / sqrt(3); mean and deviation 2 and 1.
    row = "65.00 ± 5.00 | 67.00 ± 5.57 | +2.00 | -0.48 to +4.48 | +2.00 | 3 of 3 |"
    for training in ("PGD adversarial training", "TRADES"):
        assert f"| {training} | AutoAttack | {row}" in figure
        assert (
            f"| {training} | without attack | 90.00 ± 0.00 | 90.00 ± 0.00 |" in figure
        )
    assert "the first 500 training images, 3 seed(s), the first 100 test" in figure
    figure.write(tmp_path)
    assert json.loads((tmp_path / "outer_loss.json").read_text()) == figure.to_dict()
    left, right = figure.picture.axes
    assert "AutoAttack" in [text.get_text() for text in left.get_yticklabels()]
    # Only where all seeds have it.
    assert [line.get_xdata() for line in right.lines][1::2] == [[8], [8]]


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_what_is_attacked(data, tmp_path, soon_attacked):
    recipe = tiny.recipe("crossentropy", epochs=1, adversarial=True, eps=0.02, steps=2)
    model = trainer.trained(recipe, data, 0, tmp_path, False)
    report = outer_loss._attacked(recipe, model, tmp_path, data.test, False)
    found = outer_loss._accuracies(report)
    # PGD as in Table 6, through both losses; AutoAttack as what all its attacks leave.
    pgd = [row for row in report.results if row.name == "PGD"]
    assert {row.loss for row in pgd} >= {"training", "crossentropy"}
    assert {(row.eps, row.settings["steps"]) for row in pgd} == {(0.02, 100)}
    ensemble = [row for row in report.results if row.ensemble == "AutoAttack"]
    assert [row.name for row in ensemble] == ["APGD", "APGD-T"]
    assert found["autoattack"] == 100 * min(row.robust_accuracy for row in ensemble)
    assert found["clean"] == 100 * report.clean_accuracy


@pytest.mark.integration
def test_the_curve_of_a_killed_training(data, tmp_path, monkeypatch):
    recipe = tiny.recipe("crossentropy", epochs=4, adversarial=True, eps=0.02, steps=2)
    monkeypatch.setattr(trainer, "LOSS", 0.0)
    whole, half = tmp_path / "whole", tmp_path / "half"

    class Stopped(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def train(folder, *others):
        curve = outer_loss._Curve(recipe, folder, data.test)
        trainer.train(recipe, data, 0, folder, False, [curve, *others])
        return outer_loss._curve(folder)

    whole.mkdir()
    expected = train(whole)
    half.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(half, Stopped())
    # But for the loss, which in the epoch that continues is of what was left of it.
    for point, same in zip(train(half), expected, strict=True):
        assert point.pop("loss") > 0 < same.pop("loss")
        assert point == pytest.approx(same, abs=1e-6)
    assert [point["epoch"] for point in expected] == [1, 2, 3, 4]

"""Tables 2 to 6 as records, and Table 2 as a whole; the others have the command line's.

See tests/cli/test_reproduce.py.
"""

import dataclasses
import itertools
import json

import keras
import pytest
from networks import balanced, labelled

from keras_gce import datasets, recipes
from keras_gce.attacks import JSMA, PGD
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.recipes import networks, trainer
from keras_gce.seeds import seeded


@pytest.fixture(scope="module")
def report():
    model = balanced()
    attacks = [PGD(eps=0.04, steps=2), JSMA(gamma=0.07)]
    return evaluate(
        model, labelled(model, count=20), attacks, progress=False, diagnostics=False
    )


def adversarial(loss, eps):
    return recipes.recipe_for("cifar10", loss, adversarial=True, eps=eps)


@pytest.mark.integration
def test_table6_has_a_part_for_each_radius(report, tmp_path):
    reports = {
        adversarial(loss, eps): [report, report]
        for eps in (0.04, 0.08)
        for loss in ("crossentropy", "guided_complement_entropy")
    }
    table = recipes.Table(name="table6", engine="keras_gce", reports=reports)
    table.write(tmp_path)
    text = (tmp_path / "table6.md").read_text()
    assert str(table) == table.to_markdown() == text
    assert text.count("| attack | eps or gamma | paper |") == 2
    for eps in ("0.04", "0.08"):
        assert f"(eps {eps}, 10 steps of 0.0" in text
    robust = 100 * report.worst_over_losses()["PGD", "linf", "0.04"]
    mean = f"{robust:.2f} ± 0.00 / {robust:.2f} ± 0.00"
    assert "| PGD | 0.04 | 41.50 / 41.57 | " in table and f"| {mean} |" in table
    assert "± 0.00 / 100.00 ± 0.00." in table  # without attack
    # What an accuracy doesn't say of an attack with a target, per model.
    (row,) = (r for r in report.results if r.name == "JSMA")
    reached = f"{100 * row.success_rate:.2f} ± 0.00"
    assert f"| JSMA | 0.07 | {reached} / {reached} | " in table
    # The printed gamma allows more iterations than the paper names; a cap does not.
    assert text.count("0.07 / 0.14, as printed, allow 107 / 215.") == 2
    row.settings["max_iterations"] = 100
    assert "as printed" not in table.to_markdown()
    row.settings["max_iterations"] = None
    assert text.count("Engine: keras_gce.") == 2
    summary = json.loads((tmp_path / "table6.json").read_text())
    assert summary == table.to_dict() and summary["engine"] == "keras_gce"
    assert [run["recipe"]["eps"] for run in summary["runs"]] == [0.04] * 2 + [0.08] * 2
    assert [len(run["reports"]) for run in summary["runs"]] == [2] * 4


@pytest.mark.integration
def test_one_seed_has_no_deviation(report):
    reports = {adversarial("crossentropy", 0.04): [report]}
    table = recipes.Table(name="table6", engine="keras_gce", reports=reports)
    assert "1 seed(s), 20 test images." in table and "±" not in table


@pytest.mark.integration
def test_table2(data, digits, tmp_path, capsys, monkeypatch):
    # Enough test images for each network to be right and wrong on some.
    data = dataclasses.replace(data, test=digits.test)
    monkeypatch.setattr(datasets, "load", lambda name, **settings: data)
    seeds = itertools.count()

    def untrained(recipe, dataset, *settings, **more):
        """Other weights each time; how they are trained is test_trainer.py's."""
        with seeded(next(seeds)):
            model = recipes.network(recipe, dataset)
        return networks.compiled(recipe, dataset, model, seed=0)

    monkeypatch.setattr(trainer, "train", untrained)
    arguments = {"epochs": 1, "model": "small_cnn", "progress": False}
    table = recipes.reproduce_table2("digits", tmp_path, seeds=2, **arguments)
    assert capsys.readouterr() == ("", "")
    assert "| GCE 1/2 | 0.61 |" in table and "±" in table
    assert "2 seed(s), all 360 test images." in table
    assert str(table) == (tmp_path / "table2.md").read_text()
    summary = json.loads((tmp_path / "table2.json").read_text())
    assert summary == table.to_dict()
    assert [run["recipe"]["alpha"] for run in summary] == [
        None,
        1 / 2,
        1 / 3,
        1 / 4,
        1 / 5,
    ]
    assert all(0 < error < 100 for run in summary for error in run["error_percent"])
    # Each model's error is that of the model that was saved.
    model = keras.models.load_model(
        tmp_path / "guided_complement_entropy-alpha0.2-seed1" / "model.keras"
    )
    _, accuracy = model.evaluate(*data.test.arrays(), verbose=0)
    assert summary[4]["error_percent"][1] == pytest.approx(100 * (1 - accuracy))
    # One seed, as another machine may have run it.
    alone = recipes.reproduce_table2("digits", tmp_path, seed=1, **arguments)
    assert alone.errors == {r: group[1:] for r, group in table.errors.items()}
    again = recipes.reproduce_table2("digits", tmp_path, seeds=1, **arguments)
    assert again.errors == {r: group[:1] for r, group in table.errors.items()}
    assert "±" not in again


def test_table2_refuses(tmp_path):
    with pytest.raises(InputError, match="dataset_name='svhn'"):
        recipes.reproduce_table2("svhn", tmp_path)

"""Figures 1 to 4, by the command line and by the function."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_gce import cli, names, recipes
from keras_gce.errors import InputError
from keras_gce.recipes import figures


def test_figures_of_losses(capsys, tmp_path):
    for figure in ("figure2", "figure3"):
        assert cli.main(["reproduce", figure, "--output", str(tmp_path)]) == 0
        assert capsys.readouterr().out.startswith(
            (tmp_path / f"{figure}.md").read_text()
        )
        assert Image.open(tmp_path / f"{figure}.png").size[0] == 1400
    maps = json.loads((tmp_path / "figure2.json").read_text())
    assert [each["minimum"] for each in maps] == pytest.approx([-1] * 5)
    # Complement entropy's minimum is a line, GCE's the vertex of the true class.
    assert maps[0]["where"] == [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]
    assert all(each["where"] == [[1.0, 0.0, 0.0]] * 2 for each in maps[1:])
    for each in json.loads((tmp_path / "figure3.json").read_text()):
        expected = [-(p ** each["alpha"]) for p in (0.1, 0.5, 1.0)]
        assert each["loss"] == pytest.approx(expected, abs=1e-5)
    names = [f"figure{n}.{kind}" for n in (2, 3) for kind in ("json", "md", "png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.integration
def test_figure1_shares_its_models_and_resumes(capsys, tmp_path, few, monkeypatch):
    # t-SNE itself takes the most of it; figure 4 has it.
    monkeypatch.setattr(figures, "tsne", lambda features: features[:, :2])
    arguments = ["reproduce", "figure1", "--dataset", "digits", "--model", "small_cnn"]
    arguments += ["--epochs", "2", "--examples", "30", "--output", str(tmp_path)]
    assert cli.main([*arguments, "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert "±" in out and out.startswith((tmp_path / "figure1.md").read_text())
    assert "digits, crossentropy-seed1: accuracy" in err and "seed1:" not in out
    numbers = json.loads((tmp_path / "figure1.json").read_text())
    assert numbers["examples"] == 30
    assert [model["recipe"]["loss"] for model in numbers["models"]] == [
        "crossentropy",
        "guided_complement_entropy",
    ]
    for model in numbers["models"]:
        for space in ("silhouette_features", "silhouette_tsne"):
            assert len(model[space]) == 2 and np.all(np.abs(model[space]) <= 1)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.keras")}
    assert len(made) == 4
    assert cli.main(arguments) == 0
    assert "±" not in (tmp_path / "figure1.md").read_text()
    again = json.loads((tmp_path / "figure1.json").read_text())
    assert again["models"][1]["silhouette_features"] == pytest.approx(
        numbers["models"][1]["silhouette_features"][:1], abs=1e-5
    )
    # Table 3 finds the models that it has in common.
    settings = {"epochs": 2, "seeds": 1, "examples": 10, "model": "small_cnn"}
    settings |= {"engine": "keras_gce", "attacks": ["fgsm"], "progress": False}
    capsys.readouterr()
    table = recipes.reproduce("table3", "digits", tmp_path, **settings)
    assert capsys.readouterr() == ("", "")
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert [recipe.loss for recipe in table.reports] == list(figures.LOSSES)
    assert str(table) == (tmp_path / "table3.md").read_text()
    assert "| FGSM | 0.3 | 14.99 / 47.21 |" in table
    assert table.to_dict() == json.loads((tmp_path / "table3.json").read_text())


@pytest.mark.integration
def test_figure4_trains_adversarially(tmp_path, few):
    settings = {"model": "small_cnn", "epochs": 1, "examples": 30, "progress": False}
    with pytest.warns(UserWarning, match="stayed at chance"):
        figure = recipes.reproduce_figure("figure4", "digits", tmp_path, **settings)
    assert "PGD adversarial training (eps 0.02, 40 steps" in figure
    assert (tmp_path / "crossentropy-eps0.02-seed0" / "model.keras").exists()
    assert Image.open(tmp_path / "figure4.png").size[0] == 1400
    assert str(figure) == (tmp_path / "figure4.md").read_text()
    assert figure.to_dict() == json.loads((tmp_path / "figure4.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["figure1"], "figure1 without it"),
        (["table3"], "table3 without it"),
        (["figure2", "--dataset", "digits"], "`--dataset`: figure2 has none"),
        (["figure3", "--seeds", "2"], "Received: 2"),
        (["figure3", "--data-dir", "data"], "`--data-dir`: figure3"),
        (["figure1", "--dataset", "digits", "--attacks", "fgsm"], "Received: fgsm"),
        (["figure4", "--dataset", "digits", "--engine", "keras_gce"], "`--engine`"),
        (["figure1", "--dataset", "digits", "--examples", "3"], "--examples 3"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments, received, capsys, tmp_path):
    assert cli.main(["reproduce", *arguments, "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert received in line
    assert not list(tmp_path.iterdir())


def test_the_function_refuses(tmp_path):
    with pytest.raises(InputError, match="figure='figure5'"):
        recipes.reproduce_figure("figure5", "digits", tmp_path)
    with pytest.raises(InputError, match="dataset_name=None"):
        recipes.reproduce_figure("figure1", None, tmp_path)
    with pytest.raises(InputError, match="seeds=0"):
        recipes.reproduce_figure("figure1", "digits", tmp_path, seeds=0)
    assert recipes.FIGURES is names.FIGURES

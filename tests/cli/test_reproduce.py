import inspect
import json
import types

import keras
import pytest

from keras_gce import cli, recipes


def test_wrong_input(refused, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    on_digits = ["--dataset", "digits"]
    seeded = ["reproduce", "table3", *on_digits]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "table3.md").write_text("my own table")
    for received, *arguments in (
        ("table9", "reproduce", "table9", *on_digits),
        ("svhn", "reproduce", "table3", "--dataset", "svhn"),
        ("Received: cw", "reproduce", "table3", *on_digits, "--attacks", "cw"),
        (
            "Received: pgd",
            *("reproduce", "table5", *on_digits, "--attacks", "pgd"),
            *("--output", str(tmp_path / "table")),
        ),
        ("fgsm", "reproduce", "table2", *on_digits, "--attacks", "fgsm"),
        ("cifar100", "reproduce", "table3", "--dataset", "cifar100"),
        (
            "Received: 3",
            *("reproduce", "table3", *on_digits, "--epochs", "3"),
            *("--models", "a.keras", "b.keras"),
        ),
        (
            "a.keras, no file",
            *("reproduce", "table3", *on_digits, "--models", "a.keras", "b.keras"),
            *("--output", str(tmp_path / "models")),
        ),
        ("a.keras", "reproduce", "figure2", "--models", "a.keras"),
        ("`--ray`: figure2 has none", "reproduce", "figure2", "--ray", "auto"),
        ("`--ray` must be given with --workers", *seeded, "--ray", "auto"),
        ("without --seeds", *seeded, "--seeds", "2", "--seed", "1"),
        ("Received: 1", *seeded, "--seed", "1", "--models", "a.keras"),
        ("-1", *seeded, "--seed=-1"),
        ("Received: 3", "reproduce", "figure3", "--seed", "3"),
        ("`--train-images`: table3", *seeded, "--train-images", "9"),
        (
            "`--models`: outer_loss has none",
            *("reproduce", "outer_loss", *on_digits, "--models", "a.keras"),
        ),
        (
            "table3.md, which is not of an earlier run",
            *("reproduce", "table3", *on_digits, "--output", str(mine)),
        ),
        (
            "file",
            *("reproduce", "table3", *on_digits),
            *("--output", str(blocked / "folder")),
        ),
    ):
        line = refused(*arguments)
        assert received in line, line
    assert (mine / "table3.md").read_text() == "my own table"


OURS = {"epochs": None, "model": None, "data_dir": None, "models": None, "seed": None}
TABLE = {**OURS, "dtype_policy": None}
CHOSEN = ["--epochs", "3", "--model", "small_cnn", "--data-dir", "data"]
CHOSEN += ["--seeds", "5"]
TAKEN = {"epochs": 3, "model": "small_cnn", "data_dir": "data", "seeds": 5}


@pytest.mark.parametrize(
    ("arguments", "function", "settings"),
    [
        (["table3"], "reproduce", {**TABLE, "seeds": 2, "examples": 1000}),
        (["table2"], "reproduce_table2", {**TABLE, "seeds": 3}),
        (["figure1"], "reproduce_figure", {**OURS, "seeds": 1, "examples": 1000}),
        (
            ["table6", *CHOSEN, "--examples", "7", "--dtype-policy", "mixed_bfloat16"],
            "reproduce",
            {**TAKEN, "examples": 7, "dtype_policy": "mixed_bfloat16"},
        ),
        (["table2", *CHOSEN], "reproduce_table2", {**TAKEN, "dtype_policy": None}),
        (
            ["figure4", *CHOSEN, "--examples", "7"],
            "reproduce_figure",
            {**TAKEN, "examples": 7},
        ),
        (
            ["table5", "--engine", "keras_gce", "--attacks", "mim,jsma"],
            "reproduce",
            {"engine": "keras_gce", "attacks": ["mim", "jsma"], "seeds": 2},
        ),
        (
            ["outer_loss", *CHOSEN, "--train-images", "9"],
            "reproduce_outer_loss",
            {**TAKEN, "train_images": 9, "examples": 500},
        ),
        (["outer_loss"], "reproduce_outer_loss", {"seeds": 5, "train_images": None}),
        (["table2", "--seed", "4"], "reproduce_table2", {**TABLE, "seed": 4}),
        (["figure1", "--seed", "4"], "reproduce_figure", {**OURS, "seed": 4}),
        (
            ["table6", "--seed", "4"],
            "reproduce",
            {**TABLE, "seed": 4, "examples": 1000},
        ),
    ],
)
def test_options_reach_the_recipes(
    arguments, function, settings, monkeypatch, capsys, tmp_path
):
    calls, signature = [], inspect.signature(getattr(recipes, function))

    def reproduce(*args, **kwargs):
        calls.append(signature.bind(*args, **kwargs).arguments)
        return types.SimpleNamespace(to_markdown=lambda: "what it came to")

    monkeypatch.setattr(recipes, function, reproduce)
    output = str(tmp_path / "out")
    arguments = ["reproduce", *arguments, "--dataset", "digits", "--output", output]
    assert cli.main(arguments) == 0
    if function == "reproduce" and "--engine" not in arguments:
        on_tensorflow = keras.backend.backend() == "tensorflow"
        engine = "cleverhans" if on_tensorflow else "keras_gce"
        settings = {**settings, "engine": engine, "attacks": None}
    (taken,) = calls
    assert {"dataset_name": "digits", "output": output, **settings}.items() <= (
        taken.items()
    )
    named = arguments[1] in ("table2", "outer_loss")  # By a function of their own.
    assert named or arguments[1] in taken.values()
    out = capsys.readouterr().out
    assert out.startswith("what it came to\n") and output in out


def common(output):
    arguments = ["--seeds", "1", "--engine", "keras_gce", "--model", "small_cnn"]
    return [*arguments, "--output", str(output)]


@pytest.mark.integration
def test_reproduce_resumes(capsys, tmp_path):
    arguments = ["reproduce", "table3", "--dataset", "digits", *common(tmp_path)]
    arguments += ["--epochs", "2", "--examples", "20", "--attacks", "fgsm,jsma"]
    assert cli.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| FGSM | 0.3 | 14.99 / 47.21 |" in first
    table = (tmp_path / "table3.md").read_text()
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.keras")}
    made |= {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    assert len([p for p in made if p.suffix == ".keras"]) == 2
    assert cli.main(arguments) == 0
    assert (tmp_path / "table3.md").read_text() == table
    assert {p: p.stat().st_mtime_ns for p in made} == made
    capsys.readouterr()
    assert cli.main([*arguments, "--epochs", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
    # Another table shares the models; FGSM alone, to be quick.
    arguments[1] = "table5"
    arguments[-1] = "fgsm"
    assert cli.main(arguments) == 0
    assert "| FGSM | 0.2 | 38.88 / 51.80 / 62.74 |" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert len(list(tmp_path.rglob("*.keras"))) == 3


@pytest.mark.integration
def test_reproduce_table6(capsys, few, tmp_path):
    arguments = ["reproduce", "table6", "--dataset", "mnist", *common(tmp_path)]
    arguments += ["--data-dir", str(few), "--epochs", "1", "--examples", "10"]
    with pytest.warns(UserWarning, match="stayed at chance"):
        assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "PGD adversarial training (eps 0.3, 40 steps of 0.01" in out
    assert "| PGD | 0.3 | 83.67 / 83.85 |" in out
    assert len(json.loads((tmp_path / "table6.json").read_text())["runs"]) == 2
    assert (tmp_path / "crossentropy-eps0.3-seed0" / "model.keras").exists()

import json
import subprocess
import sys

import numpy as np
import pytest

from keras_gce import cli, files, models, saving


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "keras_gce", *arguments], capture_output=True, text=True
    )


def test_help_and_wrong_arguments_without_tensorflow():
    # -X importtime names every module that is imported.
    for arguments, code in ((["--help"], 0), (["fly"], 2), (["train"], 2)):
        process = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "keras_gce", *arguments],
            capture_output=True,
            text=True,
        )
        assert process.returncode == code
        assert "keras_gce.cli" in process.stderr
        for heavy in ("tensorflow", "| keras\n", "numpy"):
            assert heavy not in process.stderr


@pytest.fixture
def saved(xe_model, tmp_path):
    saving.save_model(xe_model, tmp_path / "model.keras")
    return str(tmp_path / "model.keras")


def wrong(capsys, *arguments):
    """Runs a command that has to fail as the user's mistake; returns its line."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    return captured.err.strip().splitlines()[-1]


def test_wrong_input_is_one_line_and_code_2(capsys, saved, tmp_path):
    evaluate = ["--dataset", "digits", "--eps", "0.1"]
    nonsense = tmp_path / "nonsense.keras"
    nonsense.write_text("no model")
    narrow = tmp_path / "narrow.keras"
    saving.save_model(models.SmallCNN(num_classes=7), narrow)
    wide = tmp_path / "wide.keras"
    saving.save_model(models.SmallCNN(input_shape=(32, 32, 3)), wide)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    out = str(tmp_path / "m.keras")
    train = ["train", "--dataset", "digits", "--output", out]
    tune = ["tune", "--dataset", "digits", "--eps", "0.1"]
    tune += ["--output", str(tmp_path / "search")]
    for received, *arguments in (
        ("none.keras, no file", "evaluate", "none.keras", *evaluate),
        ("nonsense.keras", "evaluate", str(nonsense), *evaluate),
        ("with 7", "evaluate", str(narrow), *evaluate),
        ("(N, 32, 32, 3)", "evaluate", str(wide), *evaluate),
        ("svhn", "evaluate", saved, "--dataset", "svhn", "--eps", "0.1"),
        ("Received: cw", "evaluate", saved, *evaluate, "--attacks", "fgsm,cw"),
        ("-1", "evaluate", saved, "--dataset", "digits", "--eps=-1"),
        ("nan", "evaluate", saved, "--dataset", "digits", "--eps", "nan"),
        (
            "in a folder",
            *("evaluate", saved, *evaluate, "--output", str(tmp_path)),
        ),
        ("svhn", "train", "--dataset", "svhn", "--output", out),
        ("m.h5", "train", "--dataset", "digits", "--output", "m.h5"),
        ("0", *train, "--epochs", "0"),
        ("1/0", *train, "--alpha", "1/0"),
        ("table9", "reproduce", "table9", "--dataset", "digits"),
        ("svhn", "reproduce", "table3", "--dataset", "svhn"),
        (
            "Received: cw",
            *("reproduce", "table3", "--dataset", "digits", "--attacks", "cw"),
            *("--output", str(tmp_path / "table")),
        ),
        ("eps=0.1", *train, "--eps", "0.1"),
        ("Received: -1", *tune, "--alphas=-1,1/2"),
        ("alphas=(0.5,)", *tune, "--alphas", "1/2", "--tuner", "bayesian"),
        ("fgsm", "reproduce", "table2", "--dataset", "digits", "--attacks", "fgsm"),
        ("cifar100", "reproduce", "table3", "--dataset", "cifar100"),
        ("cot", *train, "--adversarial", "--loss", "cot"),
        (
            "file",
            *("reproduce", "table3", "--dataset", "digits"),
            *("--output", str(blocked / "folder")),
        ),
    ):
        line = wrong(capsys, *arguments)
        if received != "in a folder":
            assert received in line, line
    assert not (tmp_path / "m.keras").exists()


def test_train_then_evaluate(capsys, tmp_path):
    model, report = tmp_path / "out" / "model.keras", tmp_path / "report.json"
    arguments = ["--dataset", "digits", "--model", "small_cnn", "--epochs", "2"]
    arguments += ["--adversarial", "--eps", "0.02", "--steps", "2"]
    arguments += ["--checkpoint", str(tmp_path / "state")]
    assert cli.main(["train", *arguments, "--output", str(model)]) == 0
    assert "clean test accuracy" in capsys.readouterr().out
    arguments = ["--dataset", "digits", "--eps", "0.1", "--examples", "50"]
    arguments += ["--attacks", "fgsm,pgd", "--output", str(report)]
    arguments += ["--html", str(tmp_path / "report.html")]
    assert cli.main(["evaluate", str(model), *arguments]) == 0
    assert "Threat model: adaptive" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert len(written["results"]) == 6 and len(written["curves"]) == 3
    page = (tmp_path / "report.html").read_text()
    assert "--dataset digits --eps 0.1 --examples 50" in page
    names = ["out", "report.html", "report.json", "state"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_tune(capsys, tmp_path):
    arguments = ["tune", "--dataset", "digits", "--model", "small_cnn", "--eps", "0.05"]
    arguments += ["--steps", "2", "--epochs", "1", "--alphas", "1/2,1/3"]
    assert cli.main([*arguments, "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| 0.3333 |" in out.replace(" (best)", "") and "best_model.keras" in out
    assert {"alpha_search.json", "best_model.keras"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_reproduce_resumes(capsys, tmp_path):
    arguments = ["reproduce", "table3", "--dataset", "digits"]
    arguments += ["--output", str(tmp_path)]
    arguments += ["--epochs", "2", "--seeds", "1", "--examples", "40"]
    arguments += ["--engine", "keras_gce", "--model", "small_cnn"]
    arguments += ["--attacks", "pgd,jsma"]
    assert cli.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| PGD | 0.3 | 0.00 / 2.22 |" in first
    table = (tmp_path / "table3.md").read_text()
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.keras")}
    made |= {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    assert len([p for p in made if p.suffix == ".keras"]) == 2
    assert cli.main(arguments) == 0
    assert (tmp_path / "table3.md").read_text() == table
    assert {p: p.stat().st_mtime_ns for p in made} == made
    capsys.readouterr()
    other = [*arguments, "--epochs", "1"]
    assert "other settings" in wrong(capsys, *other)
    # Another table shares the models; FGSM alone, to be quick.
    arguments[1] = "table5"
    arguments[-1] = "fgsm"
    assert cli.main(arguments) == 0
    assert "| FGSM | 0.2 | 38.88 / 51.80 / 62.74 |" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert len(list(tmp_path.rglob("*.keras"))) == 3


def test_reproduce_table6(capsys, tmp_path):
    arguments = ["reproduce", "table6", "--dataset", "digits", "--epochs", "1"]
    arguments += ["--seeds", "2", "--examples", "20", "--engine", "keras_gce"]
    arguments += ["--model", "small_cnn", "--output", str(tmp_path)]
    with pytest.warns(UserWarning, match="stayed at chance"):
        assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "PGD adversarial training (eps 0.3, 40 steps of 0.01" in out
    assert "| PGD | 0.3 | 83.67 / 83.85 |" in out
    assert len(json.loads((tmp_path / "table6.json").read_text())["runs"]) == 2
    assert (tmp_path / "crossentropy-eps0.3-seed1" / "model.keras").exists()


def test_files_are_whole_or_absent(tmp_path):
    class Model:
        def save(self, path):
            path.write_text("half")
            raise RuntimeError

    files.write_text(tmp_path / "a.keras", "before")
    with pytest.raises(RuntimeError):
        saving.save_model(Model(), tmp_path / "a.keras")
    assert (tmp_path / "a.keras").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.keras"]


@pytest.mark.slow
def test_mnist_from_the_command_line(tfds_dir, tmp_path):
    process = run(
        *("train", "--dataset", "mnist", "--data-dir", tfds_dir, "--epochs", "1"),
        *("--output", str(tmp_path / "model.keras")),
    )
    assert process.returncode == 0, process.stderr
    accuracy = float(process.stdout.split("accuracy ")[-1].split("%")[0])
    assert np.isfinite(accuracy) and accuracy > 95


def test_no_output_takes_the_place_of_an_input(tmp_path, capsys):
    model = tmp_path / "model.keras"
    saving.save_model(models.SmallCNN(), model)
    before = model.read_bytes()
    (tmp_path / "link.json").symlink_to(model)
    common = ["evaluate", str(model), "--dataset", "digits", "--eps", "0.1"]
    report = str(tmp_path / "report.json")
    for outputs in (
        ["--output", str(model)],
        ["--html", str(tmp_path / "link.json")],
        ["--output", report, "--html", report],
    ):
        assert cli.main([*common, *outputs]) == 2
        assert "a file of its own" in capsys.readouterr().err
    assert model.read_bytes() == before

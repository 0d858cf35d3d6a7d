import json
import subprocess
import sys

import numpy as np
import pytest
from averages import averages_of

from keras_gce import cli, saving


def test_wrong_input(refused, tmp_path):
    out = str(tmp_path / "m.keras")
    train = ["train", "--dataset", "digits", "--output", out]
    for received, *arguments in (
        ("svhn", "train", "--dataset", "svhn", "--output", out),
        ("m.h5", "train", "--dataset", "digits", "--output", "m.h5"),
        ("0", *train, "--epochs", "0"),
        ("1/0", *train, "--alpha", "1/0"),
        ("`--eps` and `--steps` are those of adv", *train, "--eps", "0.1"),
        ("--loss cot", *train, "--loss", "cot", "--alpha", "1/3"),
        ("cot", *train, "--adversarial", "--loss", "cot"),
        ("`--awp` must be given with adv", *train, "--awp", "0.01"),
        ("> 0. Received: 0", *train, "--adversarial", "--awp", "0"),
        ("free", *train, "--adversarial", "free"),
        ("--steps 2", *train, "--adversarial", "fast", "--steps", "2"),
        ("--ema 0", *train, "--ema", "0"),
        ("--checkpoint state", *train, "--adversarial=fast", "--checkpoint", "state"),
        ("--checkpoint state", *train, "--early-stopping", "--checkpoint", "state"),
    ):
        line = refused(*arguments)
        assert received in line, line
    assert not (tmp_path / "m.keras").exists()


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_train_then_evaluate(capsys, few, tmp_path):
    model, report = tmp_path / "out" / "model.keras", tmp_path / "report.json"
    data = ["--dataset", str(few / "mnist.npz")]
    arguments = [*data, "--model", "small_cnn", "--epochs", "2"]
    arguments += ["--adversarial", "--eps", "0.02", "--steps", "2", "--awp", "0.01"]
    arguments += ["--checkpoint", str(tmp_path / "state")]
    assert cli.main(["train", *arguments, "--output", str(model)]) == 0
    assert "clean test accuracy" in capsys.readouterr().out
    arguments = [*data, "--eps", "0.1", "--examples", "20"]
    arguments += ["--attacks", "fgsm,pgd", "--output", str(report)]
    arguments += ["--html", str(tmp_path / "report.html")]
    assert cli.main(["evaluate", str(model), *arguments]) == 0
    assert "Threat model: adaptive" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert len(written["results"]) == 6 and len(written["curves"]) == 3
    page = (tmp_path / "report.html").read_text()
    assert f"--dataset {few / 'mnist.npz'} --eps 0.1 --examples 20" in page
    names = ["out", "report.html", "report.json", "state"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_one_step_averages_and_early_stopping(capsys, few, tmp_path):
    model, board = tmp_path / "model.keras", tmp_path / "board"
    arguments = ["--dataset", str(few / "mnist.npz"), "--model", "small_cnn"]
    arguments += ["--epochs", "2", "--adversarial", "fast", "--eps", "0.02", "--ema"]
    arguments += ["--early-stopping", "3", "--tensorboard", str(board)]
    assert cli.main(["train", *arguments, "--output", str(model)]) == 0
    names, *epochs, _ = capsys.readouterr().out.splitlines()
    assert names.split()[:3] == ["epoch", "accuracy", "val_accuracy"]
    assert "val_robust_accuracy" in names.split()
    assert [line.split()[0] for line in epochs] == ["1", "2"]
    assert list(board.rglob("events*"))
    # Of the best epoch, or the last: averages, as the optimizer in the file has them.
    saved = saving.load_model(model)
    for weight, average in zip(saved.get_weights(), averages_of(saved), strict=True):
        np.testing.assert_array_equal(weight, average)
    # About one epoch of the 116 images that are not held out.
    assert saved.optimizer.ema_momentum == 0.5


@pytest.mark.slow
def test_mnist_from_the_command_line(tfds_dir, tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "keras_gce", "train", "--dataset", "mnist"]
        + ["--data-dir", tfds_dir, "--epochs", "1"]
        + ["--output", str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    accuracy = float(process.stdout.split("accuracy ")[-1].split("%")[0])
    assert np.isfinite(accuracy) and accuracy > 95

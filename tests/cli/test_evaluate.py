import pathlib
import tempfile

import keras
import numpy as np
import pytest

from keras_gce import cli, files, models, saving
from keras_gce.attacks import APGD, FMN, AutoAttack
from keras_gce.cli import views
from keras_gce.cli.attack_options import (
    attacks_of,
    curve_attack,
    usual_in_l1,
)
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport


def test_wrong_input(refused, saved, tmp_path):
    evaluate = ["--dataset", "digits", "--eps", "0.1"]
    nonsense = tmp_path / "nonsense.keras"
    nonsense.write_text("no model")
    narrow = tmp_path / "narrow.keras"
    saving.save_model(models.SmallCNN(num_classes=7), narrow)
    wide = tmp_path / "wide.keras"
    saving.save_model(models.SmallCNN(input_shape=(32, 32, 3)), wide)
    for received, *arguments in (
        ("none.keras, no file", "evaluate", "none.keras", *evaluate),
        ("nonsense.keras", "evaluate", str(nonsense), *evaluate),
        ("with 7", "evaluate", str(narrow), *evaluate),
        ("(N, 32, 32, 3)", "evaluate", str(wide), *evaluate),
        ("svhn", "evaluate", saved, "--dataset", "svhn", "--eps", "0.1"),
        ("Received: cw", "evaluate", saved, *evaluate, "--attacks", "fgsm,cw"),
        ("'blind'", "evaluate", saved, *evaluate, "--threat-model", "blind"),
        ("-1", "evaluate", saved, "--dataset", "digits", "--eps=-1"),
        ("nan", "evaluate", saved, "--dataset", "digits", "--eps", "nan"),
        ("a folder", "evaluate", saved, *evaluate, "--output", str(tmp_path)),
    ):
        line = refused(*arguments)
        assert received in line, line


def test_no_output_takes_the_place_of_an_input(saved, tmp_path, refused):
    before = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "link.json").symlink_to(saved)
    data, report = str(tmp_path / "data.npz"), str(tmp_path / "report.json")
    np.savez(data, x_test=np.zeros((2, 28, 28, 1), "uint8"), y_test=np.arange(2))
    held = (tmp_path / "data.npz").read_bytes()
    for outputs in (
        ["--output", saved],
        ["--output", saved, "--overwrite"],
        ["--html", str(tmp_path / "link.json")],
        ["--html", data],
        ["--save-adversarial", data, "--overwrite"],
        ["--output", report, "--html", report],
        ["--output", report, "--save-adversarial", report],
    ):
        line = refused("evaluate", saved, "--dataset", data, "--eps", "0.1", *outputs)
        assert "a file of its own" in line
    assert (tmp_path / "model.keras").read_bytes() == before
    assert (tmp_path / "data.npz").read_bytes() == held


def test_no_output_takes_the_place_of_something_else(saved, tmp_path, refused):
    on_digits = ["evaluate", saved, "--dataset", "digits", "--eps", "0.1"]
    other = tmp_path / "other.keras"
    saving.save_model(models.SmallCNN(), other)
    notes = tmp_path / "notes.html"
    notes.write_text("<p>of mine</p>")
    before = other.read_bytes()
    for option, path in (
        ("--output", other),
        ("--html", notes),
        ("--save-adversarial", notes),
    ):
        line = refused(*on_digits, option, str(path))
        assert f"`{option}` must be a new file, or an older" in line
    assert "regular file" in refused(*on_digits, "--output", "/dev/stdout")
    line = refused(*on_digits, "--checkpoint", str(tmp_path))
    assert "`--checkpoint` must be a new or an empty folder" in line
    assert other.read_bytes() == before and notes.read_text() == "<p>of mine</p>"


def test_no_output_lies_where_something_is_read(saved, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data/ape", "package"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "layers.py").write_text("")
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "tfds").mkdir()
    np.savez(tmp_path / "tfds" / "mnist.npz", x=1)
    evaluate = ["evaluate", saved, "--eps", "0.1", "--overwrite", "--output"]
    for path, *options in (
        ("data/ape/report.json", "--dataset", "data"),
        ("state/evaluation.json", "--dataset", "digits", "--checkpoint", "state"),
        ("same", "--dataset", "digits", "--checkpoint", "same"),
        ("layers.py", "--dataset", "digits", "--import", "layers"),
        ("package/__init__.py", "--dataset", "digits", "--import", "package"),
        ("tfds/mnist.npz", "--dataset", "mnist", "--data-dir", "tfds"),
    ):
        line = refused(*evaluate, path, *options)
        assert "`--output` must" in line and f"Received: {path}" in line
    assert not (tmp_path / "state").exists() and not (tmp_path / "same").exists()
    # What was a name of no folder may be one here.
    (tmp_path / "digits").mkdir()
    line = refused(*evaluate, "digits/r.json", "--dataset", "digits", "--attacks", "x")
    assert "Received: x" in line


def test_what_fails_does_not_keep_the_rest(report, tmp_path, monkeypatch):
    """Of several files each is tried, and the first error is told."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    paths = {"--output": tmp_path / "gone" / "r.json", "--html": tmp_path / "r.html"}
    with pytest.raises(OSError, match=r"gone/r\.json can not be written any more"):
        views.write(paths, report, "--output", "--html")
    assert paths["--html"].exists()


def parsed(*options):
    arguments = ["evaluate", "model.keras", "--dataset", "digits", *options]
    return cli._parser().parse_args(arguments)


def test_settings_reach_the_attacks_that_have_them():
    args = parsed(
        *("--eps", "8/255,0.01,8/255,"),
        *("--attacks", "PGD, fgsm, Square, Auto-Attack, HopSkipJump,"),
        *("--steps", "7", "--step-size", "0.002", "--restarts", "3"),
        *("--queries", "50", "--seed", "5", "--norm", "L2"),
    )
    made = attacks_of(args)
    assert [attack.name for attack in made] == [
        *("PGD", "FGSM", "Square", "AutoAttack", "HopSkipJump") * 2
    ]
    assert [attack.eps for attack in made] == [0.01] * 5 + [8 / 255] * 5
    assert {(attack.norm, attack.seed) for attack in made} == {("l2", 5)}
    pgd, _, square, ensemble, jump = made[:5]
    assert (pgd.steps, pgd.step_size, pgd.restarts) == (7, 0.002, 3)
    assert square.queries == jump.queries == 50
    # AutoAttack is the one that may be quoted.
    assert ensemble == AutoAttack(eps=0.01, norm="l2", seed=5)


def test_passes_to_average_reach_every_gradient_attack():
    options = ("--eps", "0.1", "--attacks", "pgd,autoattack,square", "--eot-samples")
    args = parsed(*options, "5")
    pgd, ensemble, _ = attacks_of(args)
    assert pgd.eot_samples == curve_attack(args).eot_samples == 5
    assert ensemble == AutoAttack(eps=0.1, seed=pgd.seed, version="rand", eot_samples=5)
    assert attacks_of(parsed(*options, "1"))[1].version == "standard"


def test_the_usual_attacks_in_l1():
    args = parsed("--eps", "12", "--norm", "l1")
    assert "apgd in their place" in usual_in_l1(args)
    assert args.attacks == ["apgd", "noise", "autoattack"]
    assert {attack.norm for attack in attacks_of(args)} == {"l1"}
    assert curve_attack(args) == APGD(eps=12, norm="l1", steps=40, seed=0)
    # A choice of one's own is left alone, and refused where it doesn't know l1.
    args = parsed("--eps", "12", "--norm", "l1", "--attacks", "pgd")
    assert usual_in_l1(args) is None and usual_in_l1(parsed("--eps", "1")) is None
    with pytest.raises(InputError, match="Received: norm=l1"):
        attacks_of(args)


def test_attacks_without_a_radius_run_once():
    args = parsed(
        *("--eps", "0.1,0.2", "--attacks", "jsma,fmn,fgsm", "--norm", "l2"),
        *("--steps", "7"),
    )
    made = attacks_of(args)
    assert [attack.eps for attack in made] == [None, None, 0.1, 0.2]
    assert made[1] == FMN(norm="l2", steps=7)


def test_settings_of_no_attack_are_refused(refused, saved):
    on_digits = ["evaluate", saved, "--dataset", "digits", "--eps", "0.1"]
    for received, *options in (
        ("`--steps` must be of one of the attacks", "--steps", "5"),
        ("Received: 9 with fgsm, noise", "--queries", "9"),
        ("`--restarts`", "--restarts", "2"),
        ("must be an integer >= 0. Received: -1", "--seed=-1"),
        ("must be an integer >= 1. Received: 0", "--steps", "0"),
        ("Received: none", "--attacks", ","),
        ("each must be a finite number", "--eps", "0.1,x"),
        ("must be a number > 0. Received: 0", "--step-size", "0"),
        ("`--steps`", "--engine", "cleverhans", "--steps", "4"),
        ("unrecognized arguments: --step 5", "--step", "5"),
    ):
        line = refused(*on_digits, "--attacks", "fgsm,noise", *options)
        assert received in line, line


@pytest.mark.integration
def test_an_evaluation_and_all_that_it_writes(tiny, tmp_path, capsys, digits):
    report, page, npz = (str(tmp_path / n) for n in ("r.json", "r.html", "adv.npz"))
    arguments = ["evaluate", tiny, "--dataset", "digits", "--examples", "40"]
    arguments += ["--eps", "0.02,0.05", "--attacks", "fgsm,jsma", "--output", report]
    arguments += ["--save-adversarial", npz, "--checkpoint", str(tmp_path / "state")]
    failing = ["--fail-under", "99", "--fail-on-flag", "zero_gradients"]
    assert cli.main([*arguments, "--html", page, *failing]) == 3
    captured = capsys.readouterr()
    made = RobustnessReport.from_json(pathlib.Path(report).read_text())
    line = f"--fail-under 99: the worst case is {made.worst_case_accuracy:.2%}"
    assert f"keras-gce: gate: {line}" in captured.err
    (curve,) = made.worst_case_curves
    assert f"Worst case within linf 0.02: {curve.accuracy[1]:.2%}" in captured.out
    assert [row.eps for row in made.results] == [0.02] * 3 + [None] + [0.05] * 3
    assert {0.02, 0.05} <= set(made.curves[0].eps)
    assert "<h1>" in pathlib.Path(page).read_text()

    with np.load(npz) as kept:
        index, x_adv = kept["index"], kept["x_adv"]
        broken = np.flatnonzero(made.clean & ~made.robust)
        np.testing.assert_array_equal(index, broken)
        x, y = digits.test.take(40).arrays()
        # JSMA has no radius, and no say in what broke an image within one.
        assert set(kept["attack"]) == {"FGSM"} and set(kept["eps"]) == {0.02, 0.05}
        assert (np.abs(x_adv - x[index]).max((1, 2, 3)) <= kept["eps"]).all()
        answers = keras.models.load_model(tiny).predict(x_adv, verbose=0).argmax(-1)
        np.testing.assert_array_equal(answers, kept["predicted"])
        assert (answers != y[index]).all()

    # Its own files are replaced, what is finished is not done again.
    assert cli.main([*arguments, "--fail-under", "1"]) == 0
    again = RobustnessReport.from_json(pathlib.Path(report).read_text())
    assert [r.seconds for r in again.results] == [r.seconds for r in made.results]


@pytest.mark.integration
def test_a_disk_that_fills_up_meanwhile(tiny, tmp_path, capsys, full, monkeypatch):
    """One line, exit code 1, nothing half written; what was computed is kept."""
    monkeypatch.setattr(files, "ROOM", 1)
    report, state = tmp_path / "report.json", tmp_path / "state"
    arguments = ["evaluate", tiny, "--dataset", "digits", "--examples", "40"]
    arguments += ["--eps", "0.05", "--attacks", "fgsm", "--batch-size", "20"]
    arguments += ["--checkpoint", str(state), "--output", str(report), "--quiet"]
    full(5_000)  # A batch is larger, the report too.
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == "keras-gce: error: File too large\n" and not captured.out
    assert [path.name for path in state.iterdir()] == ["evaluation.json"]
    full(40_000)  # There is room for batches now, and none for the report.
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == "keras-gce: error: File too large\n"
    assert "robust in the worst case" in captured.out
    assert len(list(state.glob("row*"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["state"]

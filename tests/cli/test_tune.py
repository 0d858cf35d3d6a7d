import inspect

import pytest

from keras_gce import cli, tuning
from keras_gce.attacks import PGD


def test_wrong_input(refused, tmp_path):
    pytest.importorskip("keras_tuner")
    tune = ["tune", "--dataset", "digits", "--eps", "0.1"]
    tune += ["--output", str(tmp_path / "search")]
    for received, *options in (
        ("Received: -1", "--alphas=-1,1/2"),
        ("Received: --alphas (0.5,)", "--alphas", "1/2", "--tuner", "bayesian"),
        ("'annealing'", "--tuner", "annealing"),
    ):
        line = refused(*tune, *options)
        assert received in line, line


def test_options_reach_the_search(few, tmp_path, monkeypatch, capsys):
    calls, signature = [], inspect.signature(tuning.search_alpha)

    def search_alpha(*args, **kwargs):
        calls.append(signature.bind(*args, **kwargs).arguments)

    monkeypatch.setattr(tuning, "search_alpha", search_alpha)
    arguments = ["tune", "--dataset", str(few / "mnist.npz"), "--eps", "1/5"]
    arguments += ["--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    # As in a worker of several, which has no result.
    assert "this worker is done" in capsys.readouterr().out
    arguments += ["--alphas", "1/2,0.25", "--tuner", "bayesian", "--max-trials", "4"]
    arguments += ["--steps", "5", "--clean-floor", "0.9", "--epochs", "3"]
    arguments += ["--batch-size", "32", "--seed", "6", "--examples", "7"]
    assert cli.main(arguments) == 0
    usual, chosen = calls
    assert usual["alphas"] == [1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert [attack.loss for attack in usual["attack"]] == ["crossentropy", "margin"]
    assert usual["attack"][0] == PGD(eps=0.2, steps=10, step_size=0.05)
    expected = {"alphas": [0.5, 0.25], "tuner": "bayesian", "max_trials": 4}
    expected |= {"clean_floor": 0.9, "epochs": 3, "batch_size": 32, "seed": 6}
    assert expected.items() <= chosen.items()
    assert chosen["attack"][1] == PGD(eps=0.2, steps=5, step_size=0.1, loss="margin")
    assert len(chosen["validation"]) == 7


@pytest.mark.integration
def test_tune(capsys, few, tmp_path):
    arguments = ["tune", "--dataset", str(few / "mnist.npz"), "--model", "small_cnn"]
    arguments += ["--eps", "0.05", "--steps", "2", "--epochs", "1"]
    arguments += ["--alphas", "1/3", "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "(best) | 0.3333 |" in out and "best_model.keras" in out
    assert {"alpha_search.json", "best_model.keras"} <= {
        path.name for path in tmp_path.iterdir()
    }

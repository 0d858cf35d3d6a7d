"""The records of a search, made by hand: which trial is best, and what is shown."""

import dataclasses
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_gce import plotting
from keras_gce.errors import InputError
from keras_gce.tuning.results import AlphaSearch, AlphaTrial, best_of, measured


def trial(number, alpha, score, clean, through, adaptive, **values):
    return AlphaTrial(
        trial_id=f"000{number}",
        status="COMPLETED",
        values={"alpha": alpha} | values,
        epoch=number,
        score=score,
        clean_accuracy=clean,
        crossentropy_accuracy=through,
        adaptive_accuracy=adaptive,
    )


MASKED = trial(0, 0.5, 0.75, 0.9, 0.75, 0.25, units=8)
HONEST = trial(1, 1 / 3, 0.5, 1.0, 0.625, 0.5, units=16, rate=0.001)
FAILED = AlphaTrial(
    trial_id="0002", status="FAILED", values={"alpha": 0.2}, message="my error"
)


def search(best, clean_floor=None):
    return AlphaSearch(
        objective="val_robust_accuracy",
        attack="PGD(eps=0.1)",
        clean_floor=clean_floor,
        trials=[MASKED, HONEST, FAILED],
        best=best,
        best_model=None,
    )


def test_table():
    assert search(MASKED).to_markdown() == (
        "Attack: PGD(eps=0.1). Best alpha by val_robust_accuracy: 0.5.\n"
        "\n"
        "| trial | alpha | rate | units | best epoch | val_robust_accuracy | clean "
        "| robust, cross-entropy | robust, adaptive |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        "| 0000 (best) | 0.5 | – | 8 | 1 | 0.7500 | 90.00 | 75.00 | 25.00 |\n"
        "| 0001 | 0.3333 | 0.001 | 16 | 2 | 0.5000 | 100.00 | 62.50 | 50.00 |\n"
        "| 0002 | 0.2 | – | – | failed | – | – | – | – |\n"
        "\n"
        "Under the adaptive threat model alpha 0.3333 (trial 0001) keeps more. Where "
        "that is many images, part of the best trial's score is a mask: attack through "
        "several losses.\n"
    )
    table = search(HONEST, clean_floor=0.95).to_markdown()
    assert "with a clean accuracy of at least 95%: 0.3333.\n" in table
    assert "keeps more" not in table and table.count("(best)") == 1


def test_dict():
    result = search(HONEST, clean_floor=0.95)
    written = json.loads(json.dumps(result.to_dict()))
    assert written.pop("trials") == [
        dataclasses.asdict(one) for one in (MASKED, HONEST, FAILED)
    ]
    assert written == {
        "objective": "val_robust_accuracy",
        "attack": "PGD(eps=0.1)",
        "clean_floor": 0.95,
        "best_alpha": 1 / 3,
        "best_trial": "0001",
    }
    assert result.completed == [MASKED, HONEST]


def test_best():
    trials = [MASKED, HONEST, FAILED]
    assert best_of(trials, "val_robust_accuracy", None) is MASKED
    assert best_of(trials, "val_loss", None) is HONEST
    assert best_of(trials, "val_robust_accuracy", 0.95) is HONEST
    # Where the objective is equal the clean accuracy decides.
    equal = dataclasses.replace(HONEST, score=MASKED.score)
    for order in ([equal, MASKED], [MASKED, equal]):
        assert best_of(order, "accuracy", 0.0) is equal
    with pytest.raises(InputError, match="at most .* 0.9000. Received: clean_floor=1"):
        best_of([MASKED, FAILED], "accuracy", 1.0)
    with pytest.raises(RuntimeError, match="ended with\nmy error"):
        best_of([FAILED], "accuracy", None)
    with pytest.raises(RuntimeError, match="ended with\nnothing"):
        best_of([], "accuracy", None)


def test_a_failed_trial_is_not_attacked(tmp_path):
    assert measured(FAILED, tmp_path, None, None, [], 0) is FAILED
    assert not list(tmp_path.iterdir())


def test_figure():
    result = search(MASKED)
    figure = plotting.alpha_accuracy(result)
    (ax,) = figure.axes
    assert len(ax.get_legend().get_texts()) == 4
    assert {line.get_marker() for line in ax.get_lines()} >= {"o", "s", "^"}
    x, y = ax.get_lines()[0].get_data()
    np.testing.assert_allclose(x, [1 / 3, 0.5])
    np.testing.assert_allclose(y, [100, 90])
    into = Figure().subplots()
    assert plotting.alpha_accuracy(result, into) is into.figure

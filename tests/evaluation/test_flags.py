"""Signs of masked gradients that rows already hold."""

import numpy as np
import pytest

from keras_gce.evaluation import AttackResult
from keras_gce.evaluation.flags import row_checks


def row(name, loss, eps, accuracy):
    return AttackResult(
        name=name,
        engine="keras_gce",
        loss=loss,
        eps=eps,
        norm="linf",
        n_examples=100,
        clean_accuracy=1.0,
        robust_accuracy=accuracy,
        success_rate=1 - accuracy,
        mean_l2=1.0,
        max_linf=eps,
        seconds=1.0,
        settings={},
    )


@pytest.mark.parametrize(
    "rows,flag",
    [
        (
            [("PGD", "training", 0.1, 0.4), ("PGD", "crossentropy", 0.1, 0.0)],
            "training",
        ),
        ([("PGD", "margin", 0.1, 0.4), ("FGSM", "margin", 0.1, 0.2)], "one_step"),
        ([("PGD", "margin", 0.2, 0.4), ("PGD", "margin", 0.1, 0.2)], "larger_eps"),
        ([("PGD", "margin", 0.1, 0.18), ("FGSM", "margin", 0.1, 1.0)], "one_step_does"),
        ([("PGD", "margin", 0.1, 0.4), ("PGD", "margin", 0.2, 0.2)], None),
        ([("PGD", "margin", 0.1, 0.2), ("FGSM", "margin", 0.1, 0.4)], None),
    ],
)
def test_flags(rows, flag):
    results = [row(*r) for r in rows]
    robust = np.array([np.arange(100) < 100 * r.robust_accuracy for r in results])
    checks = row_checks(results, robust, np.ones(100, bool))
    flags = [check for check in checks if check.raised]
    assert [f.name.startswith(flag) for f in flags] == ([True] if flag else [])
    assert all(f.value > f.threshold for f in flags)
    assert all(("not seen" in check.message) != check.raised for check in checks)


@pytest.mark.parametrize("name", ["Square", "HopSkipJump"])
@pytest.mark.parametrize("left,raised", [(0.30, True), (0.40, False), (0.60, False)])
def test_black_box_that_beats_the_gradient_is_flagged(name, left, raised):
    results = [row("PGD", "margin", 0.1, 0.4), row(name, None, 0.1, left)]
    robust = np.array([np.arange(100) < 100 * r.robust_accuracy for r in results])
    checks = row_checks(results, robust, np.ones(100, bool))
    (check,) = [c for c in checks if c.name == "black_box_beats_white_box"]
    # A weaker one says nothing.
    assert check.value == pytest.approx(max(0.4 - left, 0)) and check.raised == raised

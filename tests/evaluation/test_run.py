"""The attacks of a plan, run in batches."""

import contextlib

import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce.attacks import BIM, FGSM, PGD, Square
from keras_gce.evaluation import evaluate, run


def test_batch_size_loses_no_example():
    model = balanced()
    data = labelled(model, 37)
    reports = [
        evaluate(
            model,
            data,
            BIM(eps=0.03),
            "crossentropy",
            batch_size=n,
            progress=False,
            diagnostics=False,
        )
        for n in (10, 37, 500)
    ]
    assert 0.1 < reports[0].worst_case_accuracy < 0.9
    for other in reports[1:]:
        np.testing.assert_array_equal(other.robust, reports[0].robust)


def test_the_bar_weighs_a_row_by_its_passes(monkeypatch):
    made, states = [], []

    @contextlib.contextmanager
    def bar(description, total, show, done=0):
        made.append(total)

        def advance(amount, description, counted, left):
            made.append(amount)
            states.append((f"{description}: {counted}", left))

        yield advance

    monkeypatch.setattr(run, "bar", bar)
    model = balanced()
    attacks = [FGSM(eps=0.03), PGD(eps=0.03, steps=10), Square(eps=0.03, queries=50)]
    report = evaluate(
        model,
        labelled(model, 40),
        attacks,
        "crossentropy",
        batch_size=25,
        worst_case_only=True,
        diagnostics=False,
    )
    total, *amounts = made
    assert total == 40 * (3 + 30 + 50)
    first, second, third = report.row_robust.sum(1)
    assert 0 < third <= second < first < 40
    # What a row breaks leaves it early, and is not attacked in the next one.
    assert sum(amounts) == pytest.approx(
        3 * (first + run.EARLY * (40 - first))
        + 30 * (second + run.EARLY * (first - second))
        + 50 * (third + run.EARLY * (second - third))
    )
    text, left = states[0]
    assert text == "attack 1/3, FGSM crossentropy: 0/40 images" and left == total
    text, left = states[1]
    assert text.endswith(": 25/40 images") and left == 15 * 3 + 40 * (30 + 50)
    begun = [left for text, left in states if text.startswith("attack 2/3")][0]
    assert begun == first * (30 + 50)
    text, left = states[-1]
    assert text == f"attack 3/3, Square: {second}/{second} images" and left == 0

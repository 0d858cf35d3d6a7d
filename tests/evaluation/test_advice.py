"""What a report says of attacks that were not run."""

import dataclasses

import numpy as np
import pytest

from keras_gce.evaluation import AttackResult, Flag, RobustnessReport
from keras_gce.evaluation.advice import GUIDE

FLAG = Flag("a_sign", 1.0, 0.5, "seen")


def row(name, eps=0.1, **settings):
    return AttackResult(
        name=name,
        engine="keras_gce",
        loss=None,
        eps=eps,
        norm="linf",
        n_examples=10,
        clean_accuracy=1.0,
        robust_accuracy=0.8,
        success_rate=0.2,
        mean_l2=1.0,
        max_linf=0.1,
        seconds=1.0,
        settings=settings,
    )


def report_of(*rows, left=8, **fields):
    return RobustnessReport(
        model="model",
        threat_model=fields.pop("threat_model", "adaptive"),
        results=list(rows),
        clean=np.ones(10, bool),
        row_robust=np.array([np.arange(10) < left] * len(rows)),
        **fields,
    )


@pytest.mark.parametrize(
    "rows,threat_model,missing",
    [
        (
            [row("PGD")],
            "crossentropy",
            ["adaptive", "autoattack", "--source", "Square"],
        ),
        ([row("APGD-T"), row("Square", queries=5000)], "adaptive", ["--source"]),
        ([row("FAB-T"), row("Square", queries=5000)], "adaptive", ["--source"]),
        ([row("APGD"), row("Transfer PGD")], "adaptive", ["Square"]),
        ([row("Square", queries=100)], "adaptive", ["autoattack", "--source", "5000"]),
        # Its queries are no queries of Square.
        (
            [row("APGD"), row("HopSkipJump", queries=5000), row("Transfer PGD")],
            "adaptive",
            ["Square"],
        ),
    ],
)
def test_what_was_not_run_is_named(rows, threat_model, missing):
    report = report_of(*rows, threat_model=threat_model)
    *found, last = report.not_tried
    assert len(found) == len(missing)
    assert all(part in text for part, text in zip(missing, found, strict=True))
    # However many were run, none was made for the model.
    assert "this very model" in last
    assert GUIDE in report.to_markdown() and found[0] in report.to_markdown()


@pytest.mark.parametrize(
    "report",
    [
        report_of(row("PGD"), checks=[FLAG]),
        report_of(row("PGD"), left=4),
        report_of(row("JSMA", eps=None)),
    ],
    ids=["flagged", "broken", "without a radius"],
)
def test_where_nothing_is_advised(report):
    assert report.not_tried == []
    assert "Not tried" not in report.to_markdown()


def test_the_page_says_it():
    pytest.importorskip("jinja2")
    report = report_of(row("PGD"))
    page = report.to_html()
    assert "What was not tried" in page and report.not_tried[0] in page
    unknown = dataclasses.replace(FLAG, value=None)
    flagged = report_of(row("PGD"), checks=[unknown]).to_html()
    assert "What was not tried" not in flagged and "Not computed" in flagged

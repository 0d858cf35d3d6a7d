"""The report: its figures, and its views as text."""

import dataclasses

import numpy as np
import pytest

from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport


def test_views(report):
    pytest.importorskip("pandas")
    assert len(report.to_dataframe()) == len(report.results)
    markdown = report.to_markdown()
    assert "Threat model: adaptive" in markdown and "Flag training_loss" in markdown
    assert markdown.count("keras_gce |") == len(report.results)


def test_interval_is_wilsons():
    # By hand, n = 10, 8 right, z = 1.96: 0.490 to 0.943 (Brown et al. 2001, Table).
    clean = np.array([True] * 8 + [False] * 2)
    empty = np.zeros((0, 10), bool)
    report = RobustnessReport(
        model="m", threat_model=None, results=[], clean=clean, row_robust=empty
    )
    assert report.confidence_interval() == pytest.approx((0.490, 0.943), abs=1e-3)
    with pytest.raises(InputError, match="level=1.5"):
        report.confidence_interval(1.5)


def test_per_class_adds_up(report, digits):
    rows = report.per_class()
    assert list(rows) == report.class_names
    assert sum(row["n_examples"] for row in rows.values()) == 100
    for name in ("clean_accuracy", "worst_case_accuracy"):
        total = sum(row[name] * row["n_examples"] for row in rows.values())
        assert total == pytest.approx(100 * getattr(report, name))


def test_the_worst_case_at_each_radius(report):
    small, large = (
        dataclasses.replace(report.results[0], eps=eps) for eps in (0.1, 0.2)
    )
    clean = np.array([True, True, True, False])
    # The larger ball's attack leaves what the smaller one's has broken.
    rows = np.array([[True, True, False, False], [True, False, True, True]])
    made = dataclasses.replace(
        report, results=[small, large], clean=clean, row_robust=rows
    )
    (curve,) = made.worst_case_curves
    assert (curve.eps, curve.accuracy) == ([0.0, 0.1, 0.2], [0.75, 0.5, 0.25])
    assert curve.accuracy[-1] == made.worst_case_accuracy
    free = dataclasses.replace(small, eps=None, norm=None)
    assert dataclasses.replace(made, results=[free] * 2).worst_case_curves == []

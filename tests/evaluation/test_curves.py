"""Accuracy against eps, for each threat model."""

import pytest

from keras_gce.attacks import PGD, RandomNoise
from keras_gce.errors import InputError
from keras_gce.evaluation import accuracy_curves, evaluate


def test_curves(report, gce_model, digits):
    curves = {curve.threat_model: curve for curve in report.curves}
    assert list(curves) == ["paper", "crossentropy", "adaptive"]
    for curve in curves.values():
        assert curve.eps == [0.0, 0.05, 0.1, 0.2] and curve.n_examples == 40
        assert curve.accuracy == sorted(curve.accuracy, reverse=True)
        assert all(curve.accuracy[0] == other.accuracy[0] for other in report.curves)
        for (low, high), share in zip(curve.intervals(), curve.accuracy, strict=True):
            assert low <= share <= high
    for name in ("paper", "crossentropy"):
        pairs = zip(curves["adaptive"].accuracy, curves[name].accuracy, strict=True)
        assert all(a <= b for a, b in pairs)
    # At one radius, the evaluation itself.
    attack = PGD(eps=0.2, steps=40, step_size=0.2 / 16, seed=0)
    data = digits.test.take(40)
    alone = accuracy_curves(gce_model, data, [0.2], attack=attack, progress=False)
    direct = evaluate(
        gce_model, data, attack, "adaptive", progress=False, diagnostics=False
    )
    assert alone[-1].accuracy[1] == pytest.approx(
        direct.worst_case_accuracy, abs=2 / 40
    )
    for eps in ([], [0.0, 0.1], [float("nan")]):
        with pytest.raises(InputError, match="eps"):
            accuracy_curves(gce_model, data, eps)
    with pytest.raises(InputError, match="RandomNoise"):
        accuracy_curves(gce_model, data, [0.1], attack=RandomNoise(eps=0.1))

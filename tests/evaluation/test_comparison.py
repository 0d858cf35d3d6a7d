"""The comparison of two reports."""

import numpy as np
import pytest

from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport, compare
from keras_gce.evaluation.intervals import mcnemar


def test_compare_is_paired():
    def made(model, robust, data="same"):
        robust = np.array(robust, bool)
        return RobustnessReport(
            model=model,
            threat_model=None,
            results=[],
            clean=np.ones(len(robust), bool),
            row_robust=robust[None],
            data=data,
        )

    a = made("a", [1] * 8 + [0] * 2 + [1] * 10)
    b = made("b", [0] * 8 + [1] * 2 + [1] * 10)
    comparison = compare(a, b)
    assert (comparison.only_a, comparison.only_b) == (8, 2)
    assert comparison.difference == pytest.approx(0.3)
    # By hand: 2 (1 + 10 + 45) / 2^10.
    assert comparison.p_value == mcnemar(2, 8) == 0.109375
    assert "+30.00 points on 20 examples" in comparison.to_markdown()
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0
    assert 0 < mcnemar(400, 600) < 1e-9
    with pytest.raises(InputError, match="same images"):
        compare(a, made("b", [1] * 20, data="other"))
    with pytest.raises(InputError, match="19"):
        compare(a, made("b", [1] * 19, data=None))

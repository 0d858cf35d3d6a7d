"""The flags on models whose robustness is fake, and on some that hold."""

import keras
import pytest
import zoo

from keras_gce.attacks import FGSM, PGD, Transfer
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.sanity import FIRST

pytestmark = pytest.mark.integration

# One of each kind; `pytest -m slow` and benchmarks/zoo.py look at all.
FEW = ("plateau_decoy_steep", "linear")


def cases():
    for entry in zoo.ZOO:
        marks = () if entry.name in FEW else pytest.mark.slow
        yield pytest.param(entry, id=entry.name, marks=marks)


@pytest.mark.parametrize("entry", cases())
def test_no_fake_passes_and_what_holds_is_not_flagged(entry, xe_model, digits):
    keras.utils.set_random_seed(0)
    model = entry.build(xe_model, digits)
    data = digits.test.take(100).arrays()
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, seed=0)]
    report = evaluate(model, data, attacks, progress=False)
    names = [flag.name for flag in report.flags]
    if entry.holds:
        assert set(names) <= set(FIRST)
        return
    twins = Transfer(
        source=zoo.source_for(xe_model, model),
        attack=PGD(eps=0.1, step_size=0.01, loss="margin", seed=0),
    )
    left = evaluate(model, data, twins, progress=False, diagnostics=False)
    assert names or report.worst_case_accuracy <= left.worst_case_accuracy + 0.05

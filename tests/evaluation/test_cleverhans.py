"""CleverHans as an engine: its rows are ours."""

import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce import losses
from keras_gce.attacks import BIM, FGSM, MIM, PGD
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.cleverhans import CleverHansAttack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model():
    model = balanced()
    model.compile(loss=losses.GuidedComplementEntropy(from_logits=True))
    return model


@pytest.mark.parametrize("name", ["fgsm", "bim", "mim"])
def test_cleverhans_rows_equal_ours(tf, model, name):
    ours = {"fgsm": FGSM, "bim": BIM, "mim": MIM}[name]
    theirs = CleverHansAttack(name, eps=0.03)
    data = labelled(model, 150)
    a, b = (
        evaluate(model, data, attack, batch_size=64, progress=False, diagnostics=False)
        for attack in (ours(eps=0.03), theirs)
    )
    assert 0.1 < a.worst_case_accuracy < 0.9
    assert b.results[0].engine == "cleverhans"
    assert b.results[1].engine == ("keras_gce" if name == "mim" else "cleverhans")
    for x, y in zip(a.results, b.results, strict=True):
        assert abs(x.robust_accuracy - y.robust_accuracy) <= 1.5 / 150
        assert y.max_linf <= 0.03


def test_cleverhans_pgd_agrees_in_robust_accuracy(tf, model):
    data = labelled(model, 360)
    a, b = (
        evaluate(model, data, attack, "crossentropy", progress=False, diagnostics=False)
        for attack in (PGD(eps=0.03), CleverHansAttack("pgd", eps=0.03))
    )
    assert 0.1 < a.worst_case_accuracy < 0.9
    assert abs(a.worst_case_accuracy - b.worst_case_accuracy) < 0.03
    again = evaluate(
        model,
        data,
        CleverHansAttack("pgd", eps=0.03),
        "crossentropy",
        progress=False,
        diagnostics=False,
    )
    np.testing.assert_array_equal(again.robust, b.robust)


def test_cleverhans_refuses():
    for settings, received in (
        ({"attack": "spsa"}, "attack='spsa'"),
        ({"attack": "mim", "loss": "margin"}, "loss='margin'"),
        ({"attack": "pgd", "step_size": 0.5}, "step_size=0.5"),
        ({"attack": "pgd", "steps": 0}, "steps=0"),
    ):
        with pytest.raises(InputError, match=received):
            CleverHansAttack(eps=0.1, **settings)

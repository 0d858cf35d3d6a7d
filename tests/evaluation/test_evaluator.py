"""`evaluate` as a whole: what its report counts, and what it refuses."""

import numpy as np
import pytest
from keras.losses import SparseCategoricalCrossentropy
from networks import balanced, labelled

from keras_gce.attacks import BIM, FGSM, JSMA, PGD, CarliniWagnerL2
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport, evaluate

ATTACKS = [FGSM(eps=0.1), PGD(eps=0.1, steps=10), PGD(eps=0.2, steps=10)]


@pytest.fixture(scope="module")
def report(gce_model, digits):
    return evaluate(
        gce_model,
        digits.test,
        ATTACKS,
        batch_size=100,
        progress=False,
        diagnostics=False,
    )


def test_the_report_counts_what_it_says(gce_model, digits, report):
    x, y = digits.test.arrays()
    right = np.argmax(gce_model.predict(x, verbose=0), -1) == y
    assert report.clean_accuracy == right.mean()
    assert len(report.results) == 9  # three losses for each attack
    assert [row.loss for row in report.results[:3]] == [
        "crossentropy",
        "training",
        "margin",
    ]
    for row, robust in zip(report.results, report.row_robust, strict=True):
        assert row.n_examples == 360
        assert row.robust_accuracy == robust.mean() <= row.clean_accuracy
        assert row.success_rate == pytest.approx(
            1 - row.robust_accuracy / row.clean_accuracy
        )
        assert 0 < row.max_linf <= row.eps
        assert row.engine == "keras_gce"
    assert report.robust.dtype == bool
    assert report.worst_case_accuracy == report.robust.mean()
    assert report.worst_case_accuracy <= min(r.robust_accuracy for r in report.results)
    worst = report.worst_over_losses()
    assert worst[("PGD", "linf", "0.2")] <= worst[("PGD", "linf", "0.1")]


@pytest.fixture(scope="module")
def model():
    model = balanced()
    model.compile(loss=SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def data(model):
    return labelled(model, 100)


def test_a_row_is_what_the_attack_called_directly_does(model, data):
    x, y = data
    attack = BIM(eps=0.03)
    row = evaluate(
        model, (x, y), attack, "crossentropy", progress=False, diagnostics=False
    ).results[0]
    x_adv = attack(model, x, y)
    # Ours leaves at the first success, which the last step may undo; never more.
    direct = np.mean(np.argmax(model.predict(x_adv, verbose=0), -1) == y)
    assert 0.1 < direct < 0.9
    assert direct - 0.03 <= row.robust_accuracy <= direct


def test_cross_entropy_breaks_what_gce_hides(report):
    # The package's second promise: on a GCE model the paper's threat model flatters.
    rows = {(r.name, r.eps, r.loss): r.robust_accuracy for r in report.results}
    assert rows["FGSM", 0.1, "training"] > rows["FGSM", 0.1, "crossentropy"] + 0.1
    assert "training_loss_hides" in [flag.name for flag in report.flags]


def test_training_loss_that_is_cross_entropy_is_not_run_twice(model, data):
    report = evaluate(
        model, data, PGD(eps=0.03, steps=5), progress=False, diagnostics=False
    )
    first, second, _ = report.results
    assert (second.loss, second.seconds) == ("training", 0.0)
    assert second.robust_accuracy == first.robust_accuracy
    assert report.flags == []


@pytest.mark.parametrize("name,rows", [("paper", 1), ("crossentropy", 1), (None, 1)])
def test_threat_models(gce_model, digits, name, rows):
    report = evaluate(
        gce_model,
        digits.test.take(30),
        [PGD(eps=0.1, steps=2, loss="dlr")],
        threat_model=name,
        progress=False,
        diagnostics=False,
    )
    losses = {"paper": "training", "crossentropy": "crossentropy", None: "dlr"}
    assert [row.loss for row in report.results] == [losses[name]]
    assert report.threat_model == name


def test_the_papers_threat_model_on_a_model_of_cross_entropy(model, data):
    attack = PGD(eps=0.03, steps=2, seed=0)
    a, b = (
        evaluate(model, data, attack, name, progress=False, diagnostics=False)
        for name in ("paper", "crossentropy")
    )
    np.testing.assert_array_equal(a.robust, b.robust)
    assert 0.1 < a.worst_case_accuracy < 0.9
    assert "zero_gradients" in [check.name for check in a.checks]


def test_worst_case_only_gives_the_same_worst_case_sooner(gce_model, digits, report):
    quick = evaluate(
        gce_model,
        digits.test,
        ATTACKS,
        batch_size=100,
        progress=False,
        worst_case_only=True,
        diagnostics=False,
    )
    left = [row.robust_accuracy for row in quick.results]
    assert left == sorted(left, reverse=True)
    # Random starts differ, since the batches hold other examples.
    assert abs(quick.worst_case_accuracy - report.worst_case_accuracy) < 0.02


def test_attacks_with_a_target_report_what_it_took(model, data):
    x, y = data
    attacks = [JSMA(gamma=0.3), CarliniWagnerL2(max_iterations=60)]
    report = evaluate(
        model, (x, y), attacks, batch_size=60, progress=False, diagnostics=False
    )
    # No loss to choose: one row each, whatever the threat model.
    assert [(r.name, r.loss) for r in report.results] == [
        ("JSMA", None),
        ("CarliniWagnerL2", None),
    ]
    jsma, cw = report.results
    # Most of those that leave their class reach the target; some end elsewhere.
    assert 0 < jsma.success_rate <= 1 - jsma.robust_accuracy / jsma.clean_accuracy
    assert 2 <= jsma.mean_l0 <= 2 * (8 * 8 * 0.3 // 2)
    assert 0 < cw.mean_l2 < jsma.mean_l2
    assert cw.median_l2 > 0
    assert list(report.worst_over_losses())[0] == ("JSMA", None, "gamma 0.3")
    assert RobustnessReport.from_json(report.to_json()).results == report.results


def test_evaluate_refuses(model, data, digits):
    x, y = data
    attack = FGSM(eps=0.1)

    def check(received, *args, **kwargs):
        with pytest.raises(InputError, match=received):
            evaluate(*args, progress=False, **kwargs, diagnostics=False)

    check("threat_model='white'", model, (x, y), attack, "white")
    check("batch_size=0", model, (x, y), attack, batch_size=0)
    check("to 2.0", model, (0 * x + 2, y), attack)
    check("nan", model, (x * np.nan, y), attack)
    check(r"x.shape=\(0,", model, (x[:0], y[:0]), attack)
    check("labels from", model, (x, y + 10), attack)
    check("Received: dict", model, {}, attack)
    check(r"Received: \[\]", model, (x, y), [])
    check("Received: 3", model, (x, y), [3])
    check("targeted=True", model, (x, y), FGSM(eps=0.1, targeted=True))
    if hasattr(digits.test.batches(4), "repeat"):
        check("infinite", model, digits.test.batches(4).repeat(), attack)
    uncompiled = balanced()
    check("loss=None", uncompiled, (x, y), attack, "paper")

"""What an evaluation runs, and what it refuses before the first attack."""

import dataclasses

import keras
import pytest
from networks import balanced, labelled

from keras_gce.attacks import (
    APGD,
    FGSM,
    JSMA,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
    Square,
    Transfer,
)
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.plan import make_plan

SPARSE = keras.losses.SparseCategoricalCrossentropy
RUNS = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen(PGD):
    """PGD that says when it runs."""

    steps: int = 1

    def run(self, *args, **kwargs):
        RUNS.append(self.loss)
        return super().run(*args, **kwargs)


def network(shape=(8, 8, 1), classes=5, first=(), seed=0, compiled=None):
    model = balanced(shape, classes, first, seed)
    if compiled:
        model.compile(loss=compiled)
    return model


@pytest.fixture(scope="module")
def model():
    return network(compiled=SPARSE(from_logits=True))


@pytest.fixture(scope="module")
def data(model):
    return labelled(model)


def rows_of(plan):
    return [(row.attack.name, row.attack.loss) for row in plan.rows]


# The rows


LOSSES = ["crossentropy", "training", "margin"]


def test_attacks_that_differ_in_their_loss_alone_run_once(model, data):
    attacks = [Seen(eps=0.1, loss=loss) for loss in ("crossentropy", "margin")]
    plan = make_plan(attacks, "adaptive", Classifier(model))
    assert rows_of(plan) == [("Seen", loss) for loss in LOSSES]
    RUNS.clear()
    report = evaluate(
        model, data, attacks, "adaptive", progress=False, diagnostics=False
    )
    # The training loss is cross-entropy, whose row is copied.
    assert len(report.results) == 3 and RUNS == ["crossentropy", "margin"]
    assert [row.same_as for row in plan.rows] == [None, 0, None]


def test_the_same_attack_twice_runs_once(model):
    for attack in (PGD(eps=0.1), JSMA(), Square(eps=0.1)):
        plan = make_plan([attack, attack], None, Classifier(model))
        assert plan.attacks == [attack]
    plan = make_plan([PGD(eps=0.1), PGD(eps=0.1, seed=1)], None, Classifier(model))
    assert len(plan.rows) == 2


def test_attacks_equal_once_bounds_are_given_run_once(model):
    attacks = [FGSM(eps=5), FGSM(eps=5, bounds=(0, 255))]
    assert len(make_plan(attacks, None, Classifier(model)).rows) == 2
    plan = make_plan(attacks, None, Classifier(model), bounds=(0, 255))
    assert [attack.bounds for attack in plan.attacks] == [(0, 255)]


def test_another_training_loss_is_no_copy():
    other = network(compiled=SPARSE(from_logits=True, ignore_class=0))
    plan = make_plan(FGSM(eps=0.1), "adaptive", Classifier(other))
    assert [row.same_as for row in plan.rows] == [None, None, None]


def test_the_rows_of_an_ensemble_are_a_group(model):
    attacks = [AutoAttack(eps=0.1), AutoAttack(eps=0.2), FGSM(eps=0.1)]
    plan = make_plan(attacks, None, Classifier(model))
    assert [row.group for row in plan.rows] == [0] * 4 + [1] * 4 + [None]
    opens = [row.opens for row in plan.rows]
    assert opens == [True, False, False, False] * 2 + [True]


def test_the_worst_case_has_two_groups(model):
    attacks = [JSMA(), FGSM(eps=0.1), CarliniWagnerL2(), AutoAttack(eps=0.1)]
    plan = make_plan(attacks, None, Classifier(model), worst_case_only=True)
    assert [row.group for row in plan.rows] == [0, 1, 0, 1, 1, 1, 1]
    assert [row.opens for row in plan.rows] == [True, True] + [False] * 5


def test_an_attack_beside_an_ensemble_is_compared_by_its_first_row(model, data):
    # Of each AutoAttack the first row has attacked all examples: only that one may
    # say whether the larger ball leaves more.
    attacks = [
        AutoAttack(eps=0.02, version="rand"),
        AutoAttack(eps=0.01, version="rand"),
    ]
    report = evaluate(model, data, attacks, progress=False, diagnostics=False)
    assert [row.ensemble for row in report.results] == ["AutoAttack"] * 4
    large, _, small, _ = (row.robust_accuracy for row in report.results)
    assert large < small
    (check,) = [c for c in report.checks if c.name == "larger_eps_is_weaker"]
    assert check.value == pytest.approx(large - small) and not check.raised


# Refused before any attack has run


def refused_before_any_run(received, model, data, attack, **options):
    RUNS.clear()
    with pytest.raises(InputError, match=received) as error:
        evaluate(
            model,
            data,
            [Seen(eps=0.1), attack],
            progress=False,
            **options,
            diagnostics=False,
        )
    assert RUNS == [] and "\n" not in str(error.value)


def test_jsma_without_a_pair(model, data):
    # 64 features: a pair is a share of 2 / 64.
    refused_before_any_run(
        "at least 0.0312 .*gamma=0.03", model, data, JSMA(gamma=0.03)
    )
    assert make_plan(JSMA(gamma=2 / 64), None, Classifier(model)).rows
    JSMA(gamma=2 / 64).check(Classifier(model), *data)


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_dlr_of_two_classes(kind):
    two = network(classes=2)
    refused_before_any_run(
        "2 classes",
        two,
        labelled(two),
        kind(eps=0.1, loss="dlr"),
        threat_model=None,
    )


def test_transfer_from_other_classes(model, data):
    source = network(classes=4)
    refused_before_any_run(
        "model's 5 classes. Received: sequential.* with 4",
        model,
        data,
        Transfer(source=source, attack=FGSM(eps=0.1)),
    )


def test_transfer_from_images_of_another_shape(model, data):
    source = network((6, 6, 1))
    refused_before_any_run(
        r"x.shape=\(.*8, 8, 1\)",
        model,
        data,
        Transfer(source=source, attack=FGSM(eps=0.1)),
    )


@pytest.mark.parametrize("target", [5, 0])
def test_targets_that_can_not_be(model, data, target):
    attack = CarliniWagnerL2(target=target, max_iterations=1)
    assert target == 5 or (data[1] == target).any()
    refused_before_any_run(f"target={target}", model, data, attack)


def test_a_training_loss_that_is_not_there(model, data):
    refused_before_any_run(
        "loss=None",
        network(),
        data,
        PGD(eps=0.1, loss="training"),
        threat_model=None,
    )


def test_images_outside_one_of_several_bounds(model, data):
    refused_before_any_run(
        "values from .* to 0.99", model, data, FGSM(eps=0.1, bounds=(0, 0.5))
    )

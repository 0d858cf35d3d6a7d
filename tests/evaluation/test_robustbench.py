"""RobustBench's record of a report."""

import dataclasses
import json

import numpy as np
import pytest
from networks import balanced

from keras_gce.attacks import PGD, AutoAttack
from keras_gce.errors import InputError
from keras_gce.evaluation import Flag, RobustnessReport, evaluate

# The fields and their kinds, of model_info/cifar10/Linf/*.json there.
FIELDS = {
    "link": str,
    "name": str,
    "authors": str,
    "additional_data": bool,
    "number_forward_passes": int,
    "dataset": str,
    "venue": str,
    "architecture": str,
    "eps": str,
    "clean_acc": str,
    "reported": str,
    "autoattack_acc": str,
    "unreliable": bool,
}


@pytest.fixture(scope="module")
def few():
    """A report on a few images, with attacks in a ball of two norms."""
    model = balanced(classes=10)
    x = np.random.default_rng(1).random((40, 8, 8, 1), "float32")
    y = np.argmax(model.predict(x, verbose=0), -1)
    attacks = [PGD(eps=8 / 255), AutoAttack(eps=8 / 255, seed=3)]
    return evaluate(model, (x, y), attacks, "crossentropy", progress=False)


@pytest.fixture(scope="module")
def whole(few):
    """The same images again and again, as many as CIFAR-10 has."""
    report = dataclasses.replace(
        few,
        clean=np.tile(few.clean, 250),
        row_robust=np.tile(few.row_robust, 250),
        labels=np.arange(10_000) % 10,
        checks=[dataclasses.replace(check, value=0.0) for check in few.checks],
    )
    return RobustnessReport.from_json(report.to_json())


def test_the_fields_of_robustbench(few, whole):
    entry = json.loads(whole.to_robustbench(name="A title", reported=51.5))
    assert {name: type(value) for name, value in entry.items()} == FIELDS
    assert entry["name"] == "A title" and entry["reported"] == "51.50"
    assert (entry["dataset"], entry["eps"]) == ("cifar10", "8/255")
    # AutoAttack's alone, whatever else was run.
    left = few.row_robust[1:].all(axis=0).mean()
    assert 0.02 < left < 0.98 and entry["autoattack_acc"] == f"{100 * left:.2f}"
    assert entry["clean_acc"] == "100.00" and not entry["unreliable"]
    raised = [*whole.checks, Flag("more_steps_gain", 1.0, 0.5, "a sign")]
    other = dataclasses.replace(whole, checks=raised)
    assert json.loads(other.to_robustbench(footnote="x"))["unreliable"]


def test_autoattack_at_another_eps_does_not_count(whole):
    rows = [(i, row) for i, row in enumerate(whole.results) if row.ensemble]
    wider = [dataclasses.replace(row, eps=0.1) for _, row in rows]
    other = dataclasses.replace(
        whole,
        results=[*whole.results, *wider],
        row_robust=np.concatenate(
            [whole.row_robust, np.zeros((len(rows), 10_000), bool)]
        ),
    )
    assert other.to_robustbench() == whole.to_robustbench()


def test_it_says_what_is_missing(few, whole):
    with pytest.raises(InputError, match=r"all 10000 test images \(it has 40\)"):
        few.to_robustbench()
    checks = {check.name: check for check in whole.checks}
    zero = dataclasses.replace(checks["zero_gradients"], value=0.5)
    weaker = [
        dataclasses.replace(row, settings=row.settings | {"queries": 500})
        if row.name == "Square"
        else row
        for row in whole.results
    ]
    # What runs where the authors' can't has their settings, under another name.
    other = [
        dataclasses.replace(row, ensemble="AutoAttack, table") if row.ensemble else row
        for row in whole.results
    ]
    for change, words in (
        ({"checks": []}, r"the check randomised_outputs \(diagnostics=True\)"),
        ({"checks": [*checks.values(), zero]}, "gradients that are not 0"),
        ({"worst_case_only": True}, "AutoAttack on all images"),
        ({"labels": np.zeros(10_000, int)}, "cifar10's test labels"),
        ({"results": weaker}, "the standard AutoAttack in linf 8/255 or l2 0.5"),
        ({"results": other}, "the standard AutoAttack in linf 8/255 or l2 0.5"),
        ({"results": whole.results[:1], "row_robust": whole.row_robust[:1]}, "the st"),
    ):
        with pytest.raises(InputError, match=words):
            dataclasses.replace(whole, **change).to_robustbench()
    with pytest.raises(InputError, match="cifar100's test labels, as many of each"):
        whole.to_robustbench("cifar100")
    with pytest.raises(InputError, match="`dataset` must be one of cifar10, cifar100"):
        whole.to_robustbench("mnist")

"""The attacks of the paper's tables."""

import importlib

import pytest

from keras_gce import evaluation, names, recipes
from keras_gce.attacks import BIM, JSMA, MIM, PGD, CarliniWagnerL2
from keras_gce.errors import InputError


def test_attacks_of_the_tables():
    # DESIGN section 9: eps, iterations and MNIST's PGD step of 0.01.
    attacks = evaluation.paper_attacks("mnist", engine="keras_gce")
    *gradient, low, high, cw = attacks
    assert [a.eps for a in gradient] == [0.1, 0.2, 0.3] * 4
    assert (low, high, cw) == (JSMA(), JSMA(gamma=0.5), CarliniWagnerL2())
    assert PGD(eps=0.2, steps=40, step_size=0.01) in attacks
    assert BIM(eps=0.1, steps=10) in attacks and MIM(eps=0.3, steps=40) in attacks
    ours = {"engine": "keras_gce"}
    assert [
        a.name for a in evaluation.paper_attacks("mnist", **ours, table="table5")
    ] == ["FGSM", "BIM", "MIM", "JSMA", "CarliniWagnerL2"]
    (pgd,) = evaluation.paper_attacks("mnist", **ours, table="table6")
    assert pgd == PGD(eps=0.3, steps=100, step_size=0.01)
    pgd = evaluation.paper_attacks("cifar10", **ours, table="table6")
    assert [(a.eps, a.steps) for a in pgd] == [(0.04, 40), (0.08, 40)]


def test_jsma_s_iterations_are_the_paper_s():
    # "At most 100 / 200": of 3,072 features .07 / .14 allow 107 / 215, of MNIST's 784
    # .25 / .5 allow 98 / 196, which a cap leaves.
    def listed(dataset, **settings):
        attacks = evaluation.paper_attacks(dataset, engine="keras_gce", **settings)
        return [attack for attack in attacks if attack.name == "JSMA"]

    features = 32 * 32 * 3
    assert [a._iterations(features) for a in listed("cifar10")] == [107, 215]
    capped = listed("cifar10", cap_iterations=True)
    assert [a._iterations(features) for a in capped] == [100, 200]
    # The budgets under which the paper's figures stand.
    assert [a.gamma for a in capped] == [0.07, 0.14]
    (short,) = listed("cifar10", cap_iterations=True, table="table5")
    assert short == JSMA(gamma=0.07, max_iterations=100)
    assert listed("mnist", cap_iterations=True) == listed("mnist")
    assert [a._iterations(28 * 28) for a in listed("mnist")] == [98, 196]


def test_attacks_of_cleverhans():
    pytest.importorskip("cleverhans")
    theirs = evaluation.paper_attacks("cifar10")
    assert [a.engine for a in theirs] == ["cleverhans"] * 12 + ["keras_gce"] * 3
    assert sorted({a.eps for a in theirs[:12]}) == [0.04, 0.12, 0.2]
    assert [a.gamma for a in theirs[12:14]] == [0.07, 0.14]


@pytest.mark.parametrize(
    "arguments", [("svhn",), ("mnist", "art"), ("mnist", "cleverhans", "table9")]
)
def test_paper_attacks_refuses(arguments):
    with pytest.raises(InputError, match=f"Received: .*{arguments[-1]}"):
        evaluation.paper_attacks(*arguments)


@pytest.mark.parametrize("engine", ["keras_gce", "cleverhans"])
@pytest.mark.parametrize(
    ("dataset", "table", "sizes"),
    [
        ("mnist", "table3", [0.01, 0.01, 0.01]),
        ("cifar10", "table3", [0.04 / 40, 0.12 / 40, 0.2 / 40]),
        ("cifar100", "table4", [0.04 / 40, 0.12 / 40, 0.2 / 40]),
        ("mnist", "table6", [0.01]),
        ("cifar10", "table6", [0.0025, 0.005]),
    ],
)
def test_step_sizes_of_the_paper_s_pgd(dataset, table, sizes, engine):
    if engine == "cleverhans":
        pytest.importorskip("cleverhans")
    attacks = evaluation.paper_attacks(dataset, engine=engine, table=table)
    pgd = [attack for attack in attacks if attack.name == "PGD"]
    assert [attack.step_size for attack in pgd] == sizes


def test_the_tables_are_those_that_are_offered():
    module = importlib.import_module("keras_gce.recipes.paper_attacks")
    assert ("table2", *module._DATASETS) == names.TABLES
    assert {d for each in module._DATASETS.values() for d in each} == {*names.DATASETS}
    # A module of its name, and so no function of the package.
    assert recipes.paper_attacks is module
    assert evaluation.paper_attacks is module.paper_attacks

"""What a user types is what the rooms have: `names` promises it without Keras."""

import contextlib
import pathlib
import re

import keras
import numpy as np
import pytest

from keras_gce import attacks, datasets, evaluation, names, recipes, training
from keras_gce.attacks.base import Attack
from keras_gce.attacks.in_ball import BallAttack
from keras_gce.errors import InputError
from keras_gce.evaluation.cleverhans import CleverHansAttack
from keras_gce.recipes import networks
from keras_gce.recipes.paper_attacks import paper_attacks


def test_datasets(tmp_path):
    images = np.zeros((4, 28, 28, 1), "uint8")
    arrays = {"x_train": images, "x_test": images}
    arrays |= {"y_train": np.arange(4), "y_test": np.arange(4)}
    assert datasets.NAMES == names.DATASETS
    for name in names.DATASETS:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert datasets.load(name, data_dir=tmp_path).name == name
    np.savez(tmp_path / "svhn.npz", **arrays)
    with pytest.raises(InputError, match="svhn"):
        datasets.load("svhn", data_dir=tmp_path)


def test_networks():
    assert tuple(networks.MODELS) == names.NETWORKS
    for name in names.NETWORKS:
        assert recipes.recipe_for("digits", "crossentropy", model=name).model == name


def test_losses():
    for loss in names.LOSSES:
        assert recipes.recipe_for("digits", loss).loss == loss


def test_dtype_policies():
    for name in names.DTYPE_POLICIES:
        assert keras.dtype_policies.get(name).compute_dtype != "float32"
        recipe = recipes.recipe_for("digits", "crossentropy", dtype_policy=name)
        assert recipe.dtype_policy == name


def test_adversarial():
    for name in names.ADVERSARIAL:
        recipe = recipes.recipe_for("digits", "crossentropy", adversarial=name)
        assert recipe.one_step == (name == "fast")


def test_attacks():
    classes = {name: getattr(attacks, name) for name in names.ATTACKS.values()}
    assert all(issubclass(each, Attack) for each in classes.values())
    # All that need no other model.
    others = {"Attack", "BallAttack", "LossAttack", "Transfer", "logits_of"}
    others.add("straight_through")
    assert set(classes) == set(attacks.__all__) - others
    assert {
        name
        for name, each in names.ATTACKS.items()
        if not issubclass(classes[each], BallAttack)
    } == set(names.EPS_FREE_ATTACKS)


def test_attacks_of_cleverhans():
    if keras.backend.backend() == "tensorflow":
        pytest.importorskip("cleverhans")
    for name in names.CLEVERHANS_ATTACKS:
        assert CleverHansAttack(name, eps=0.1).name == names.ATTACKS[name]
    for name in set(names.ATTACKS) - set(names.CLEVERHANS_ATTACKS):
        with pytest.raises(InputError, match=name):
            CleverHansAttack(name, eps=0.1)


def test_engines():
    engines = {Attack.engine, CleverHansAttack.engine}
    assert engines == set(names.ENGINES)


def test_norms():
    for norm in names.NORMS:
        assert attacks.APGD(eps=0.1, norm=norm).norm == norm
    with pytest.raises(InputError, match=f"one of {', '.join(names.NORMS)}. "):
        attacks.APGD(eps=0.1, norm="l7")
    kinds = {name: getattr(attacks, kind) for name, kind in names.ATTACKS.items()}
    assert {name for name, kind in kinds.items() if "l1" in kind.norms} == set(
        names.L1_ATTACKS
    )


def test_threat_models():
    assert set(evaluation.THREAT_MODELS) == set(names.THREAT_MODELS)


def test_tables_and_their_attacks():
    found = {table: set() for table in names.TABLES}
    for table in names.TABLES:
        for dataset in names.DATASETS:
            # The paper has not every table of every dataset.
            with contextlib.suppress(InputError):
                chosen = paper_attacks(dataset, engine="keras_gce", table=table)
                found[table] |= {attack.name.lower() for attack in chosen}
    # Table 2 is of natural images.
    assert [table for table in names.TABLES if not found[table]] == ["table2"]
    assert set().union(*found.values()) == set(names.PAPER_ATTACKS)


def test_figures():
    assert recipes.FIGURES == names.FIGURES
    assert not set(names.FIGURES) & set(names.TABLES)


def test_experiments():
    for name in names.EXPERIMENTS:
        assert hasattr(recipes, f"reproduce_{name}")


def test_objectives():
    for name, of_it in names.OBJECTIVES.items():
        assert isinstance(getattr(training, of_it)(), training.Objective), name


def test_flags():
    """All that evaluation may raise, by the names in its files."""
    found = set()
    for file in pathlib.Path(evaluation.__file__).parent.glob("*.py"):
        made = r"(?:\bFlag|\bmeasured|\bflag_of|\b_worst)\(\s*\"(\w+)\""
        found |= set(re.findall(made, file.read_text()))
    assert found == set(names.FLAGS) and len(set(names.FLAGS)) == len(names.FLAGS)

"""AutoAttack: the ensemble, and what survives it."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import evaluate
from keras_gce.attacks import APGD, AutoAttack, Square
from keras_gce.attacks.objectives import margin
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def right(model, x, y):
    return np.argmax(model.predict(to_numpy(x), verbose=0), -1) == y


@dataclasses.dataclass(frozen=True, kw_only=True)
class Short(AutoAttack):
    """The ensemble, with fewer steps, targets and queries."""

    steps: int = 20

    @property
    def attacks(self):
        return tuple(
            dataclasses.replace(attack, **self.fewer(attack))
            for attack in super().attacks
        )

    def fewer(self, attack):
        if isinstance(attack, Square):
            return {"queries": 15 * self.steps}
        targets = {} if isinstance(attack, APGD) else {"num_targets": 3}
        return {"steps": self.steps, **targets}


@pytest.mark.integration
def test_random_outputs_need_averaged_gradients(xe_model, images):
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + keras.random.normal(ops.shape(x), stddev=0.3, seed=self.seed)

    x, y = images
    model = keras.Sequential([keras.Input(x.shape[1:]), Noise(), xe_model])

    def lead(passes):
        x_adv = APGD(eps=0.05, steps=10, seed=0, eot_samples=passes)(model, x, y)
        z = xe_model.predict(to_numpy(x_adv), verbose=0)
        return np.mean(to_numpy(margin(y, ops.convert_to_tensor(z))))

    assert lead(20) > lead(1)
    report = evaluate(
        model,
        (x[:20], y[:20]),
        Short(eps=0.05, version="rand", steps=5),
        progress=False,
        diagnostics=True,
    )
    assert [row.settings["eot_samples"] for row in report.results] == [20, 20]
    assert "randomised_outputs" in [flag.name for flag in report.flags]


def test_versions_are_the_authors():
    def listed(version, norm="l2"):
        attacks = AutoAttack(eps=0.1, norm=norm, version=version).attacks
        assert {(a.eps, a.norm) for a in attacks} == {(0.1, norm)}
        for attack in attacks:
            if isinstance(attack, Square):
                assert attack == Square(eps=0.1, norm=norm, rescale_schedule=False)
            if attack.name in ("APGD-T", "FAB-T"):
                fewer = (attack.name, version, norm) == ("APGD-T", "standard", "l1")
                assert attack.num_targets == (5 if fewer else 9)
        return [(a.name, getattr(a, "restarts", None)) for a in attacks]

    # set_version in the authors' autoattack.py.
    assert listed("standard") == [
        ("APGD", 1),
        ("APGD-T", 1),
        ("FAB-T", 1),
        ("Square", None),
    ]
    assert listed("standard", "l1") == [
        ("APGD", 5),
        ("APGD-T", 1),
        ("FAB-T", 1),
        ("Square", None),
    ]
    assert (
        listed("plus", "l1")
        == listed("plus")
        == [
            ("APGD", 5),
            ("APGD", 5),
            ("FAB", 5),
            ("Square", None),
            ("APGD-T", 1),
            ("FAB-T", 1),
        ]
    )
    assert listed("rand") == [("APGD", 1), ("APGD", 1)]


@pytest.mark.integration
def test_the_ensemble_attacks_survivors_only(xe_model, images, tmp_path):
    attack = Short(eps=0.02, seed=0)
    folder = tmp_path / "checkpoint"
    report = evaluate(
        xe_model, images, attack, progress=False, checkpoint=folder, diagnostics=False
    )
    assert [row.ensemble for row in report.results] == ["AutoAttack"] * 4
    left = [row.robust_accuracy for row in report.results]
    assert left == sorted(left, reverse=True) and left[-1] < report.clean_accuracy
    assert report.worst_case_accuracy == left[-1] > 0
    # What was attacked is what the rows before left.
    for row, before in zip(range(1, 4), report.row_robust, strict=False):
        with np.load(folder / f"row{row:03}_batch00000.npz") as part:
            assert len(part["right"]) == before.sum()
    # At most what its first attack, or each attack alone, leaves.
    alone = evaluate(
        xe_model, images, attack.attacks[1], progress=False, diagnostics=False
    )
    assert report.worst_case_accuracy <= alone.worst_case_accuracy
    # Called directly it breaks the same images, and a kill loses none.
    x, y = images
    broken = ~right(xe_model, attack(xe_model, x, y), y)
    assert (broken == ~report.robust).mean() > 0.95
    (folder / "row003_batch00000.npz").unlink()
    again = evaluate(
        xe_model, images, attack, progress=False, checkpoint=folder, diagnostics=False
    )
    np.testing.assert_array_equal(again.row_robust, report.row_robust)


@pytest.mark.integration
def test_two_ensembles_do_not_share_their_survivors(xe_model, images):
    attacks = [Short(eps=eps, version="rand", steps=5) for eps in (0.1, 0.02)]
    report = evaluate(xe_model, images, attacks, progress=False, diagnostics=False)
    first, second = report.results[1], report.results[3]
    assert first.robust_accuracy < second.robust_accuracy


def test_wrong_input():
    for settings, received in (
        ({"version": "fast"}, "version='fast'"),
        ({"norm": "l7"}, "norm=l7"),
        ({"targeted": True}, "targeted=True"),
    ):
        with pytest.raises(InputError, match=received):
            AutoAttack(**{"eps": 0.1} | settings)

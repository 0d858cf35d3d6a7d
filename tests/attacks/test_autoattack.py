"""The attacks of AutoAttack beyond APGD, and the ensemble."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import backend, evaluate, models
from keras_gce.attacks import (
    APGD,
    APGDT,
    PGD,
    AutoAttack,
    RandomNoise,
    Square,
    Transfer,
)
from keras_gce.attacks.objectives import dlr, margin, targeted_dlr
from keras_gce.attacks.square import _pyramids
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def right(model, x, y):
    return np.argmax(model.predict(to_numpy(x), verbose=0), -1) == y


def masked(model, scale=1e4):
    """The same classes, from logits so large that cross-entropy has no gradient."""
    return keras.Sequential([model, keras.layers.Rescaling(scale)])


def test_targeted_dlr_is_equation_7():
    # By hand: (3 - 5) / (5 - (2 + 1) / 2); y leads, the target is second.
    z = ops.convert_to_tensor([[5.0, 3.0, 2.0, 1.0]])
    y, target = np.array([0], "int32"), np.array([1], "int32")
    assert float(targeted_dlr(y, target, z)[0]) == pytest.approx(-2 / 3.5)
    # Free of shift and scale.
    assert float(targeted_dlr(y, target, 10 * z - 4)[0]) == pytest.approx(-2 / 3.5)
    # Eq. 6: (3 - 5) / (5 - 2).
    assert float(dlr(y, z)[0]) == pytest.approx(-2 / 3)


@pytest.mark.parametrize("norm,eps", [("linf", 0.1), ("l2", 1.0)])
@pytest.mark.parametrize("attack", [APGDT, Square, RandomNoise])
def test_ball_bounds_and_effect(xe_model, images, attack, norm, eps):
    x, y = images
    short = {"queries": 300} if attack is Square else {}
    short |= {"steps": 20, "num_targets": 3} if attack is APGDT else {}
    run = attack(eps=eps, norm=norm, seed=3, **short)
    x_adv = to_numpy(run(xe_model, x, y))
    delta = (x_adv - x).reshape(len(x), -1)
    if norm == "linf":
        assert np.abs(delta).max() <= np.float32(eps)
    else:
        length = np.linalg.norm(delta.astype("float64"), axis=1)
        assert length.max() <= eps * (1 + 1e-6)
    assert x_adv.min() >= 0 and x_adv.max() <= 1 and np.isfinite(x_adv).all()
    assert (np.abs(delta).max(axis=1) > 0).all()
    lost = right(xe_model, x, y).mean() - right(xe_model, x_adv, y).mean()
    assert lost >= {APGDT: 0.4, Square: 0.1, RandomNoise: 0.0}[attack]
    np.testing.assert_array_equal(x_adv, run(xe_model, x, y))
    nothing = dataclasses.replace(run, eps=0)
    np.testing.assert_array_equal(nothing(xe_model, x, y), x)


def test_square_needs_no_gradient(xe_model, images):
    x, y = images
    blind = masked(xe_model)
    gradient = right(blind, APGD(eps=0.1, steps=30, seed=0)(blind, x, y), y).mean()
    x_adv = Square(eps=0.1, queries=1000, seed=0)(blind, x, y)
    assert right(blind, x_adv, y).mean() < gradient - 0.1
    # As if there were no mask.
    seen = right(xe_model, Square(eps=0.1, queries=1000, seed=0)(xe_model, x, y), y)
    assert abs(right(blind, x_adv, y).mean() - seen.mean()) <= 0.1


@pytest.mark.parametrize("side", [1, 3, 4, 7, 11])
@pytest.mark.parametrize("turned", [False, True])
def test_pyramids_point_up_and_down_and_have_length_1(side, turned):
    cells = np.arange(side, dtype="int32")
    row, column = cells[:, None] + 0 * cells, cells + 0 * cells[:, None]
    values = to_numpy(_pyramids(row, column, side, np.array(turned), 28))
    assert np.sum(values**2) == pytest.approx(1, abs=1e-5)
    values = values.T if turned else values
    half = side // 2
    assert (values[:half] >= 0).all() and (values[half:] <= 0).all()
    if side == 7:
        # Layers 1, 1/4, 1/9, 1/16 thick; the upper half is 3 x 7, its top at (1, 3).
        upper = values[:3] / values[1, 3]
        total = 1 + 1 / 4 + 1 / 9 + 1 / 16
        assert upper[1, 2] == pytest.approx((total - 1) / total, rel=1e-4)
        assert upper[0, 0] == pytest.approx(1 / 16 / total, rel=1e-4)


def test_square_and_noise_are_traced_once(tf, images):
    model = models.SmallCNN()
    x, y = images
    for eps, n, count in ((0.1, 5, 40), (0.2, 9, 13)):
        Square(eps=eps, queries=n)(model, x[:count], y[:count])
        RandomNoise(eps=eps, samples=n)(model, x[:count], y[:count])
        APGDT(eps=eps, steps=n)(model, x[:count], y[:count])
    assert backend.trace_count(model) == 3


def test_targeted_square_and_noise_move_towards_the_target(xe_model, images):
    x, y = images
    target = ((y + 1) % 10).astype("int32")

    def lead(v):
        z = xe_model.predict(to_numpy(v), verbose=0)
        return z[np.arange(len(y)), target] - z[np.arange(len(y)), y]

    for attack in (Square(eps=0.1, queries=100), RandomNoise(eps=0.1, samples=30)):
        x_adv = dataclasses.replace(attack, targeted=True, seed=0)(xe_model, x, target)
        assert lead(x_adv).mean() > lead(x).mean()


def test_transfer_returns_the_sources_examples(xe_model, gce_model, images):
    x, y = images
    attack = PGD(eps=0.15, steps=10, seed=1)
    transfer = Transfer(source=xe_model, attack=attack)
    x_adv = transfer(gce_model, x, y)
    np.testing.assert_array_equal(x_adv, attack(xe_model, x, y))
    report = evaluate(gce_model, images, transfer, progress=False)
    (row,) = report.results
    assert (row.name, row.eps, row.norm, row.loss) == (
        "Transfer PGD",
        0.15,
        "linf",
        None,
    )
    assert row.settings["source"].startswith(f"{xe_model.name} (weights ")
    assert row.settings["attack"]["steps"] == 10


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="random models are refused under JAX"
)
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
        x_adv = APGD(eps=0.05, steps=10, seed=0, eot_iter=passes)(model, x, y)
        z = xe_model.predict(to_numpy(x_adv), verbose=0)
        return np.mean(to_numpy(margin(y, ops.convert_to_tensor(z))))

    assert lead(20) > lead(1)
    report = evaluate(
        model,
        (x, y),
        AutoAttack(eps=0.05, version="rand"),
        progress=False,
        diagnostics=True,
    )
    assert [row.settings["eot_iter"] for row in report.results] == [20, 20]
    assert "randomised_outputs" in [flag.name for flag in report.flags]


def test_versions_are_the_authors():
    def listed(version):
        attacks = AutoAttack(eps=0.1, norm="l2", version=version).attacks
        assert {(a.eps, a.norm) for a in attacks} == {(0.1, "l2")}
        return [(a.name, getattr(a, "restarts", None)) for a in attacks]

    # set_version in the authors' autoattack.py.
    assert listed("standard") == [
        ("APGD", 1),
        ("APGD-T", 1),
        ("FAB-T", 1),
        ("Square", None),
    ]
    assert listed("plus") == [
        ("APGD", 5),
        ("APGD", 5),
        ("FAB", 5),
        ("Square", None),
        ("APGD-T", 1),
        ("FAB-T", 1),
    ]
    assert listed("rand") == [("APGD", 1), ("APGD", 1)]


def test_the_ensemble_attacks_survivors_only(xe_model, images, tmp_path):
    attack = AutoAttack(eps=0.02, seed=0)
    folder = tmp_path / "checkpoint"
    report = evaluate(xe_model, images, attack, progress=False, checkpoint=folder)
    assert [row.ensemble for row in report.results] == ["AutoAttack"] * 4
    left = [row.robust_accuracy for row in report.results]
    assert left == sorted(left, reverse=True) and left[-1] < report.clean_accuracy
    assert report.worst_case_accuracy == left[-1] > 0
    # What was attacked is what the rows before left.
    for row, before in zip(range(1, 4), report.row_robust, strict=False):
        with np.load(folder / f"row{row:03}_batch00000.npz") as part:
            assert len(part["right"]) == before.sum()
    # At most what its first attack, or each attack alone, leaves.
    alone = evaluate(xe_model, images, attack.attacks[1], progress=False)
    assert report.worst_case_accuracy <= alone.worst_case_accuracy
    # Called directly it breaks the same images, and a kill loses none.
    x, y = images
    broken = ~right(xe_model, attack(xe_model, x, y), y)
    assert (broken == ~report.robust).mean() > 0.95
    (folder / "row003_batch00000.npz").unlink()
    again = evaluate(xe_model, images, attack, progress=False, checkpoint=folder)
    np.testing.assert_array_equal(again.row_robust, report.row_robust)


def test_two_ensembles_do_not_share_their_survivors(xe_model, images):
    attacks = [AutoAttack(eps=eps, version="rand") for eps in (0.1, 0.02)]
    report = evaluate(xe_model, images, attacks, progress=False)
    first, second = report.results[1], report.results[3]
    assert first.robust_accuracy < second.robust_accuracy


def test_wrong_input(xe_model, images):
    x, y = images
    for cls, settings, received in (
        (APGDT, {"steps": 0}, "steps=0"),
        (APGDT, {"num_targets": 0}, "num_targets=0"),
        (APGDT, {"targeted": True}, "targeted=True"),
        (Square, {"queries": 0}, "queries=0"),
        (Square, {"p_init": 0}, "p_init=0"),
        (Square, {"p_init": 1.5}, "p_init=1.5"),
        (Square, {"eps": -1}, "eps=-1"),
        (RandomNoise, {"samples": 0}, "samples=0"),
        (APGD, {"eot_iter": 0}, "eot_iter=0"),
        (AutoAttack, {"version": "fast"}, "version='fast'"),
        (AutoAttack, {"norm": "l1"}, "norm=l1"),
        (AutoAttack, {"targeted": True}, "targeted=True"),
    ):
        with pytest.raises(InputError, match=received):
            cls(**{"eps": 0.1} | settings)
    with pytest.raises(InputError, match="attack='pgd'"):
        Transfer(source=xe_model, attack="pgd")
    flat = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    vectors = np.zeros((2, 5), "float32"), np.array([0, 1])
    with pytest.raises(InputError, match="Received: 3 classes"):
        APGDT(eps=0.1)(flat, *vectors)
    with pytest.raises(InputError, match="Received: 3 classes"):
        evaluate(flat, vectors, AutoAttack(eps=0.1), progress=False)
    with pytest.raises(InputError, match=r"x.shape=\(2, 5\)"):
        Square(eps=0.1)(flat, *vectors)
    other = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten()])
    other.add(keras.layers.Dense(4))
    with pytest.raises(InputError, match="with 4"):
        Transfer(source=other, attack=PGD(eps=0.1))(xe_model, x, y)

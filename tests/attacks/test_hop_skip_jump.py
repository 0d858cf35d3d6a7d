"""HopSkipJump: distances against the geometry, and that it sees the class alone."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled
from twins import under_each

from keras_gce import backend, evaluate
from keras_gce.attacks import BIM, HopSkipJump
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import compare


class Class(layers.Layer):
    """Says which output is the greatest, and nothing else."""

    def call(self, z):
        return 2 * ops.one_hot(ops.argmax(z, axis=-1), z.shape[-1]) - 1

    def compute_output_shape(self, shape):
        return shape


@pytest.fixture(scope="module")
def linear():
    """A model of two classes, 20 images, and in each norm how far the boundary is."""
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(2)])
    w = rng.normal(size=(10, 2)).astype("float32")
    model.set_weights([w, -w.sum(0) / 2])
    x = rng.uniform(0.3, 0.7, (20, 10)).astype("float32")
    z = x @ w - w.sum(0) / 2
    gap, slope = np.abs(z[:, 0] - z[:, 1]), w[:, 0] - w[:, 1]
    exact = {"linf": gap / np.abs(slope).sum(), "l2": gap / np.linalg.norm(slope)}
    return model, x, z.argmax(-1).astype("int32"), exact


def distance(x_adv, x, norm):
    delta = (to_numpy(x_adv).astype("float64") - x).reshape(len(x), -1)
    return np.linalg.norm(delta, ord=np.inf if norm == "linf" else 2, axis=1)


@pytest.mark.parametrize("norm", under_each(["linf", "l2"], "linf"))
def test_finds_the_nearest_boundary_of_a_linear_model(linear, norm):
    model, x, y, exact = linear
    # Wide, and without leaving at the first success: the least distance is looked for.
    attack = HopSkipJump(eps=100, norm=norm, queries=1200, probes=50, seed=0)
    x_adv, used = attack.counted(Classifier(model), x, y)
    assert (to_numpy(model(to_numpy(x_adv))).argmax(-1) != y).all()
    ratio = distance(x_adv, x, norm) / exact[norm]
    assert ratio.min() >= 1 - 1e-5
    assert np.median(ratio) <= 1.03 and ratio.max() <= 1.15
    assert (to_numpy(used) == 1200).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_what_lies_within_eps_and_says_for_how_many_queries(
    linear, norm, tmp_path
):
    model, x, y, exact = linear
    eps = float(np.median(exact[norm])) * 1.02
    attack = HopSkipJump(eps=eps, norm=norm, queries=1000, probes=20, seed=0)

    def run():
        settings = {"progress": False, "diagnostics": False}
        return evaluate(model, (x, y), attack, checkpoint=tmp_path, **settings)

    report = run()
    assert report.robust[exact[norm] > eps].all()
    assert not report.robust[exact[norm] * 1.1 < eps].any()
    assert 0.3 < report.robust.mean() < 0.7
    seed = 0  # As `evaluate` gives its first batch.
    x_adv, used = attack.counted(Classifier(model), x, y, seed=seed, stop_early=True)
    used = to_numpy(used)
    (row,) = report.results
    assert row.median_queries == np.median(used[~report.robust])
    assert used.max() == 1000 and used.min() < 300
    # What isn't broken is left as it was.
    np.testing.assert_array_equal(to_numpy(x_adv)[report.robust], x[report.robust])
    assert (distance(x_adv, x, norm) <= eps * (1 + 1e-6)).all()
    again = run()
    assert again.results == report.results and compare(report, again).p_value == 1


@pytest.mark.seam
def test_sees_the_class_alone():
    model = balanced()
    x, y = labelled(model)
    says = keras.Sequential([model, Class()])
    np.testing.assert_array_equal(BIM(eps=0.1)(says, x, y), x)
    attack = HopSkipJump(eps=0.1, queries=200, probes=50, seed=0)
    found = [to_numpy(attack(each, x, y)) for each in (model, says)]
    assert (to_numpy(model(found[0])).argmax(-1) != y).mean() > 0.7
    np.testing.assert_array_equal(*found)


def test_a_model_without_boundary_takes_all_queries_and_one_without_answers_none():
    x, y = labelled(balanced())
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten()])
    model.add(layers.Dense(2))
    model.set_weights([np.zeros((64, 2)), np.array([1.0, 0.0])])
    attack = HopSkipJump(eps=0.1, queries=30, probes=5, seed=0)
    x_adv, used = attack.counted(Classifier(model), x, 0 * y, stop_early=True)
    np.testing.assert_array_equal(x_adv, x)
    assert (to_numpy(used) == 30).all()
    # Its answers are never right.
    model.set_weights([np.zeros((64, 2)), np.full(2, np.nan)])
    x_adv, used = attack.counted(Classifier(model), x, 0 * y, stop_early=True)
    assert np.isfinite(to_numpy(x_adv)).all() and (to_numpy(used) <= 2).all()
    assert 0 < distance(x_adv, x, "linf").max() <= 0.1
    # To the end, where probes have no room any more.
    everywhere = dataclasses.replace(attack, queries=150)(model, x, 0 * y)
    assert distance(everywhere, x, "linf").max() <= 1e-6


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for eps, queries, probes, n in ((0.1, 25, 5, 40), (0.2, 30, 9, 13)):
        HopSkipJump(eps=eps, queries=queries, probes=probes)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1


@pytest.mark.parametrize("norm,eps", [("linf", 0.1), ("l2", 0.6)])
def test_in_another_unit(norm, eps):
    model = balanced()
    x, y = labelled(model)
    of_255 = balanced(first=[layers.Rescaling(1 / 255)])
    attack = HopSkipJump(eps=eps, norm=norm, queries=150, probes=50, seed=0)
    other = dataclasses.replace(attack, eps=eps * 255, bounds=(0, 255))
    a = to_numpy(attack(model, x, y))
    b = to_numpy(other(of_255, x * 255, y))
    # Rounding may turn the answer of a point at the boundary, and with it all after.
    same = np.abs(a - b / 255).reshape(len(x), -1).max(1) <= 1e-4
    assert same.mean() >= 0.8
    broken = [(to_numpy(model(v)).argmax(-1) != y).mean() for v in (a, b / 255)]
    assert broken[0] > 0.5 and abs(broken[0] - broken[1]) <= 0.1


def test_wrong_input():
    for settings, received in (
        ({"queries": 0}, "queries=0"),
        ({"probes": 0}, "probes=0"),
        ({"probes": 1.5}, "probes=1.5"),
        ({"norm": "l1"}, "norm=l1"),
        ({"targeted": True}, "targeted=True"),
    ):
        with pytest.raises(InputError, match=f"Received: {received}"):
            HopSkipJump(**{"eps": 0.1} | settings)

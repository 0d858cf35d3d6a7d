"""The least distances of examples, beside the geometry."""

import json

import keras
import numpy as np
import pytest
from networks import balanced, labelled
from twins import under_each

from keras_gce.attacks import FMN, PGD
from keras_gce.errors import InputError
from keras_gce.evaluation import Distances, distances, evaluate

NORMS = ("linf", "l2", "l1")
# Of a gradient, in which a distance to a plane is its value's share.
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def linear(kernel, bias=0.0):
    """Two classes, and a plane between them."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.set_weights([np.reshape(kernel, (6, 1)), np.array([bias])])
    return model


KERNEL = np.array([1.0, -2.0, 0.5, 3.0, -1.0, 0.25])


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).uniform(0.4, 0.6, (21, 6)).astype("float32")
    y = (x @ KERNEL > 0.8).astype("int32")
    y[:3] = 1 - y[:3]
    return x, y


@pytest.fixture(scope="module")
def network():
    return balanced()


@pytest.fixture(scope="module")
def images(network):
    return labelled(network)


@pytest.mark.parametrize("norm", under_each(NORMS, "l1"))
def test_a_linear_models_distances_are_those_of_the_geometry(data, norm):
    x, y = data
    found = distances(linear(KERNEL, -0.8), data, norm, progress=False)
    exact = np.abs(x @ KERNEL - 0.8) / np.linalg.norm(KERNEL, DUAL[norm])
    exact[:3] = 0
    assert exact.max() < 0.4  # The box does not matter.
    np.testing.assert_allclose(found.values, exact, rtol=5e-3, atol=1e-5)
    assert found.norm == norm and found.clean_accuracy == 18 / 21
    assert found.median == np.median(found.values)
    assert not found.flags
    curve = found.curve()
    assert curve.eps == sorted({0.0, *found.values}) and curve.n_examples == 21
    assert curve.accuracy == [(found.values > e).mean() for e in curve.eps]
    assert (curve.accuracy[0], curve.accuracy[-1]) == (18 / 21, 0.0)
    assert found.curve([0.05, 1.0]).eps == [0.0, 0.05, 1.0]
    text = str(found)
    assert (
        f"median {norm} distance {found.median:.4g}" in text and "21 examples" in text
    )
    assert (
        "21 examples, clean accuracy 85.71%, 0 not broken, by FMN. Flags: none." in text
    )


def test_what_no_attack_can_break_and_what_is_broken_before(data):
    # Constant; a boundary beyond the bounds; logits that are no numbers.
    for kernel, bias, value in (
        (0 * KERNEL, 1.0, np.inf),
        (KERNEL, 9.0, np.inf),
        (KERNEL, np.nan, 0.0),
    ):
        y = np.ones(21, "int32")
        found = distances(linear(kernel, bias), (data[0], y), progress=False)
        assert (found.values == value).all() and found.median == value
        assert found.clean_accuracy == (value > 0)
        accuracy = 1.0 if value else 0.0
        assert found.curve().accuracy == [accuracy]
        told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert told["values"] == [None if value else 0.0] * 21
        names = [flag.name for flag in found.flags]
        assert told["flags"] == names and told["norm"] == "linf"
        assert ("constant_outputs" in names) == (not kernel.any())
        assert ("nan_outputs" in names) == (not value)
        assert "Flags: none" in str(found) or f"- Flag {names[0]}: " in str(found)


def test_of_several_attacks_the_nearest_success_counts(network, images):
    attacks = [FMN(norm="l2", steps=2), PGD(eps=0.5, norm="l2", steps=3, seed=0)]
    each = [
        distances(network, images, "l2", one, progress=False).values for one in attacks
    ]
    both = distances(network, images, "l2", attacks, progress=False)
    np.testing.assert_array_equal(both.values, np.min(each, axis=0))
    assert set(np.argmin(each, axis=0)) == {0, 1} and both.attacks == ["FMN", "PGD"]
    # What a radius breaks, evaluate says too.
    report = evaluate(
        network, images, attacks[1], None, progress=False, diagnostics=False
    )
    assert np.isinf(each[1]).mean() == report.worst_case_accuracy > 0


def test_the_unit_of_the_pixels_is_that_of_the_distances(network, images):
    x, y = images
    of_255 = balanced(first=[keras.layers.Rescaling(1 / 255)])
    attack = FMN(norm="l1", steps=20)
    a = distances(network, images, "l1", attack, progress=False)
    b = distances(of_255, (255 * x, y), "l1", attack, bounds=(0, 255), progress=False)
    np.testing.assert_allclose(b.values / 255, a.values, rtol=1e-3)


def test_a_killed_one_continues(network, images, tmp_path):
    class Killed(BaseException):
        pass

    class Dying(FMN):
        """FMN that dies in its third batch."""

        def run(self, *args, **kwargs):
            batches.append(1)
            if len(batches) == 3:
                raise Killed
            return super().run(*args, **kwargs)

        @property
        def name(self):
            return "FMN"

    def found(attack=None, **options):
        return distances(
            network,
            images,
            attacks=attack or FMN(steps=5),
            batch_size=10,
            progress=False,
            **options,
        ).values

    batches = []
    with pytest.raises(Killed):
        found(Dying(steps=5), checkpoint=tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("row*")}
    assert len(finished) == 2
    continued = found(checkpoint=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    np.testing.assert_array_equal(continued, found())
    with pytest.raises(InputError, match="of another evaluation"):
        found(FMN(steps=6), checkpoint=tmp_path)


def test_refusals(data):
    model = linear(KERNEL)
    for settings, received in (
        ({"norm": "l7"}, "norm=l7"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"attacks": 3}, "Received: 3"),
        ({"bounds": (0.0, 0.1)}, "values from"),
    ):
        with pytest.raises(InputError, match=received):
            distances(model, data, progress=False, **settings)
    found = Distances(model="m", attacks=["FMN"], norm="linf", values=np.ones(3))
    for eps in ([-1.0], [np.nan], ["a"]):
        with pytest.raises(InputError, match="eps="):
            found.curve(eps)

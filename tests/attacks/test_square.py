"""Square: its shapes by hand, and that it needs no gradient."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import APGD, Square
from keras_gce.attacks.ball import TensorSeed
from keras_gce.attacks.scatter import _some
from keras_gce.attacks.square import _count, _side
from keras_gce.attacks.windows import _pyramids, _window
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def right(model, x, y):
    return np.argmax(model.predict(to_numpy(x), verbose=0), -1) == y


def masked(model, scale=1e4):
    """The same classes, from logits so large that cross-entropy has no gradient."""
    return keras.Sequential([model, keras.layers.Rescaling(scale)])


@pytest.mark.integration
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
@pytest.mark.parametrize("power", [1, 2])
def test_pyramids_point_up_and_down_and_have_length_1(side, turned, power):
    cells = np.arange(side, dtype="int32")
    row, column = cells[:, None] + 0 * cells, cells + 0 * cells[:, None]
    values = to_numpy(_pyramids(row, column, side, np.array(turned), 28, f"l{power}"))
    assert np.sum(np.abs(values) ** power) == pytest.approx(1, abs=1e-5)
    values = values.T if turned else values
    half = side // 2
    assert (values[:half] >= 0).all() and (values[half:] <= 0).all()
    if side == 7:
        # Layers 1, 1/4, 1/9, 1/16 thick, and 1, 1/16, 1/81, 1/256 in l1; the upper half
        # is 3 x 7, its top at (1, 3).
        upper = values[:3] / values[1, 3]
        layers = 1 / np.arange(1, 5) ** (2.0 if power == 2 else 4.0)
        assert upper[1, 2] == pytest.approx(1 - 1 / layers.sum(), rel=1e-4)
        assert upper[0, 0] == pytest.approx(layers[3] / layers.sum(), rel=1e-3)


# p_selection in the authors' square.py.
@pytest.mark.parametrize(
    "done,halved",
    [(0, 0), (10, 0), (11, 1), (50, 1), (51, 2), (500, 3), (4000, 6), (9999, 9)],
)
def test_the_squares_shrink_as_the_authors_do(done, halved):
    side = round((0.8 / 2**halved * 28 * 28) ** 0.5)
    assert int(_side(np.float32(done), np.float32(0.8), 28, 28)) == side


@pytest.mark.parametrize("side,short,last", [(3, 0, 5), (3, 1, 4), (8, 1, 0)])
def test_windows_lie_everywhere_but_short_of_the_edge(side, short, last):
    # In l2 `random_int(0, h - s)` of the authors' square.py, whose end is left out.
    draw = TensorSeed(np.array([0, 0], "int32"))
    images = np.zeros((500, 8, 8, 1), "float32")
    inside, *_ = _window(images, np.int32(side), draw, short)
    inside = to_numpy(inside)[..., 0]
    assert (inside.sum(axis=(1, 2)) == side**2).all()
    for axis in (1, 2):
        starts = inside.any(axis=3 - axis).argmax(1)
        assert sorted({*starts}) == list(range(last + 1))


def test_the_schedule_is_that_of_the_queries_or_of_10_000():
    model = balanced()
    x, y = labelled(model)
    own = Square(eps=0.02, queries=12, seed=0)
    whole = dataclasses.replace(own, rescale_schedule=False)
    a, b = (to_numpy(attack(model, x, y)) for attack in (own, whole))
    assert not np.array_equal(a, b)
    # Eleven moves of 10,000: squares of 7 x 7, that is p = 0.8, of 8 x 8 pixels.
    stripes = to_numpy(dataclasses.replace(own, queries=1)(model, x, y))
    kept = [(v == stripes).mean(axis=(1, 2, 3)) for v in (a, b)]
    assert kept[1].mean() < kept[0].mean()


def test_one_trace_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for eps, queries, n in ((0.1, 5, 40), (0.2, 9, 13)):
        Square(eps=eps, queries=queries)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1


def test_targeted_moves_towards_the_target(xe_model, images):
    x, y = images
    target = ((y + 1) % 10).astype("int32")

    def lead(v):
        z = xe_model.predict(to_numpy(v), verbose=0)
        return z[np.arange(len(y)), target] - z[np.arange(len(y)), y]

    attack = Square(eps=0.1, queries=100, targeted=True, seed=0)
    assert lead(attack(xe_model, x, target)).mean() > lead(x).mean()


def test_wrong_input():
    for settings, received in (
        ({"queries": 0}, "queries=0"),
        ({"p_init": 0}, "p_init=0"),
        ({"p_init": 1.5}, "p_init=1.5"),
        ({"rescale_schedule": 1}, "rescale_schedule=1"),
        ({"eps": -1}, "eps=-1"),
    ):
        with pytest.raises(InputError, match=received):
            Square(**{"eps": 0.1} | settings)


@pytest.mark.parametrize("norm,eps", [("linf", 0.05), ("l2", 0.6), ("l1", 3.0)])
def test_square_in_another_unit(norm, eps):
    model = balanced(classes=5)
    x, y = labelled(model)
    of_255 = balanced(classes=5, first=[layers.Rescaling(1 / 255)])
    attack = Square(eps=eps, norm=norm, queries=30, seed=0)
    other = dataclasses.replace(attack, eps=eps * 255, bounds=(0, 255))
    a, b = (
        to_numpy(one(m, images, y))
        for one, m, images in ((attack, model, x), (other, of_255, x * 255))
    )
    same = np.abs(a - b / 255).reshape(len(x), -1).max(1) <= 1e-4
    assert same.mean() >= 0.95
    assert (to_numpy(model(a)).argmax(-1) != y).mean() > 0.2


@pytest.mark.parametrize("norm,eps", [("linf", 0.03), ("l2", 0.6), ("l1", 5.0)])
def test_square_knows_where_the_channels_are(norm, eps):
    last = balanced((8, 8, 3), classes=5)
    inputs = keras.Input((3, 8, 8))
    # Flatten moves the channels last itself, and says so.
    value = layers.Flatten(data_format="channels_first")(inputs)
    value = layers.Dense(12, "relu")(value)
    first = keras.Model(inputs, layers.Dense(5)(value))
    first.set_weights(last.get_weights())
    x, y = labelled(last, shape=(8, 8, 3))
    attack = Square(eps=eps, norm=norm, queries=30, seed=0)
    moved = np.moveaxis(x, -1, 1)
    np.testing.assert_allclose(to_numpy(first(moved)), to_numpy(last(x)), atol=1e-5)
    a, b = to_numpy(attack(last, x, y)), to_numpy(attack(first, moved, y))
    assert Classifier(first).data_format == "channels_first"
    np.testing.assert_allclose(np.moveaxis(a, -1, 1), b, atol=1e-5)


# Where there is no image


@pytest.mark.parametrize(
    "done,count", [(0, 24), (10, 24), (11, 12), (500, 3), (2000, 1), (9999, 1)]
)
def test_features_become_fewer_as_the_squares_do(done, count):
    # 0.8 of 30 features, halved where the squares' area is.
    assert int(_count(np.float32(done), np.float32(0.8), 30)) == count


@pytest.mark.parametrize("shape", [(7,), (3, 2), (1,)])
def test_so_many_features_wherever_they_lie(shape):
    draw = TensorSeed(np.array([0, 0], "int32"))
    examples = np.zeros((400, *shape), "float32")
    for count in {1, min(3, np.prod(shape))}:
        chosen = to_numpy(_some(examples, np.int32(count), draw))
        assert chosen.shape == examples.shape
        assert (chosen.reshape(400, -1).sum(axis=1) == count).all()
        share = chosen.mean(axis=0)
        assert np.abs(share - count / share.size).max() < 0.1


@pytest.mark.parametrize(
    "shape,norm",
    [
        ((12,), "linf"),
        pytest.param((12,), "l2", marks=pytest.mark.seam),
        ((12,), "l1"),
        ((4, 3), "l2"),
        ((1,), "l2"),
    ],
)
def test_square_without_windows_breaks_nearly_all_that_can_be_broken(shape, norm):
    rng = np.random.default_rng(0)
    w = rng.normal(size=int(np.prod(shape))).astype("float32")
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(1)])
    model.set_weights([w[:, None], np.array([-w.sum() / 2])])
    # Within the bounds whatever happens.
    x = (0.5 + rng.uniform(-0.1, 0.1, (200, *shape))).astype("float32")
    z = (x.reshape(200, -1) - 0.5) @ w
    dual = np.linalg.norm(w, {"linf": 1, "l2": 2, "l1": np.inf}[norm])
    # So that half of the examples can be broken.
    eps = float(np.median(np.abs(z)) / dual)
    attack = Square(eps=eps, norm=norm, queries=400, seed=0)
    x_adv = to_numpy(attack(model, x, z > 0))
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    delta = (x_adv.astype("float64") - x).reshape(200, -1)
    assert np.linalg.norm(delta, order, axis=1).max() <= eps * (1 + 1e-6)
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    broken = (x_adv.reshape(200, -1) - 0.5) @ w * np.sign(z) < 0
    assert not broken[np.abs(z) > eps * dual].any()
    assert broken[np.abs(z) < 0.9 * eps * dual].all()
    np.testing.assert_array_equal(x_adv, attack(model, x, z > 0))

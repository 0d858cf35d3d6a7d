"""Whether the figures of a report mean what they seem to, and that it says so."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced

from keras_gce.attacks import (
    APGD,
    BIM,
    FAB,
    FGSM,
    FMN,
    JSMA,
    MIM,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
    RandomNoise,
    Square,
)
from keras_gce.classifier import Classifier
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.sanity import FIRST, is_constant

N, SHAPE = 60, (8, 8, 1)


def network(*first, classes=4, seed=0):
    return balanced(SHAPE, classes, first, seed)


def labelled(model, low=0.0):
    x = np.random.default_rng(1).uniform(low, 1, (N, *SHAPE)).astype("float32")
    y = to_numpy(model(x)).argmax(-1).astype("int32")
    y[:6] = (y[:6] + 1) % 4
    return x, y


@functools.cache
def of_unit(greatest):
    """A network for pixels up to `greatest`, once, so that its attacks are traced once.

    For tests that leave its weights alone.
    """
    return network() if greatest == 1 else network(layers.Rescaling(1 / greatest))


@pytest.fixture(scope="module")
def data():
    return labelled(of_unit(1))


def report_of(model, data, attacks, **options):
    return evaluate(
        model,
        data,
        attacks,
        options.pop("threat_model", "crossentropy"),
        progress=False,
        **{"diagnostics": False, **options},
    )


def names(report):
    return [flag.name for flag in report.flags]


def strict(report):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(report.to_json(), parse_constant=refuse)


# Logits that are not finite

ALL = [
    FGSM(eps=0.1),
    BIM(eps=0.1, steps=3),
    PGD(eps=0.1, steps=3, restarts=2),
    MIM(eps=0.1, steps=3),
    PGD(eps=2.0, norm="l2", steps=3),
    APGD(eps=0.1, steps=3),
    FAB(eps=0.1, steps=3),
    Square(eps=0.1, queries=5),
    RandomNoise(eps=0.1, samples=3),
    AutoAttack(eps=0.1),
    JSMA(gamma=0.1),
    CarliniWagnerL2(max_iterations=3, binary_search_steps=2),
    FMN(steps=3),
]


def broken(value=np.nan):
    model = network()
    model.set_weights([w * value for w in model.get_weights()])
    return model


def test_nothing_is_right_where_logits_are_nan(data):
    report = report_of(broken(), data, ALL)
    assert report.clean_accuracy == report.worst_case_accuracy == 0.0
    assert [row.robust_accuracy for row in report.results] == [0.0] * len(
        report.results
    )
    assert names(report)[:2] == ["nan_outputs", "near_chance"]
    assert "NaN" not in json.dumps(strict(report))
    assert "60 of 60 images" in report.to_markdown().splitlines()[0]


@pytest.mark.parametrize(
    "attack", ALL, ids=lambda attack: f"{attack.name}-{attack.norm}"
)
def test_attacks_on_nan_return_images(data, attack):
    x, y = data
    x_adv = to_numpy(attack(broken(), x[:8], y[:8]))
    assert np.isfinite(x_adv).all() and x_adv.shape == x[:8].shape
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert not Classifier(broken()).right(x_adv, y[:8]).any()


class Cliff(layers.Layer):
    """Logits that are NaN where the first pixel is below 0.45."""

    def call(self, inputs):
        images, z = inputs
        first = ops.reshape(images, (-1, 64))[:, :1]
        # The true class, 0, leads by 5 wherever there is a number at all.
        lead = 4.0 + 0.1 * first + 0.0 * ops.log(first - 0.45)
        return ops.concatenate([lead, 0.0 * z[:, 1:] - 1.0], axis=-1)


@pytest.fixture(scope="module")
def cliff():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, Cliff()([inputs, network()(inputs)]))
    x = np.random.default_rng(1).random((N, *SHAPE), "float32")
    x[:, 0, 0, 0] = 0.5
    return model, x, np.zeros(N, "int32")


OF_CLIFF = [
    BIM(eps=0.1, steps=10),
    MIM(eps=0.1, steps=10),
    PGD(eps=0.1, steps=10, seed=0),
    APGD(eps=0.1, steps=10, seed=0),
    Square(eps=0.1, queries=200, seed=0),
    RandomNoise(eps=0.1, samples=50, seed=0),
]


@pytest.mark.parametrize("attack", OF_CLIFF, ids=lambda attack: attack.name)
def test_an_attack_may_find_logits_that_are_not_finite(cliff, attack):
    model, x, y = cliff
    report = report_of(model, (x, y), attack)
    (row,) = report.results
    # Square, in small squares at the end, does not meet the one pixel in all images.
    least = 0.6 if attack.name == "Square" else 1.0
    assert row.clean_accuracy == 1 and row.success_rate >= least
    assert row.robust_accuracy == pytest.approx(1 - row.success_rate)
    assert names(report)[0] == "nan_outputs"
    broken = round(N * row.success_rate)
    assert f"on 0 of 60 images, and on {broken}" in report.flags[0].message
    strict(report)
    x_adv = to_numpy(attack.run(Classifier(model), x, y, seed=0, stop_early=True))
    assert np.isnan(to_numpy(model(x_adv))).any(-1).sum() == broken


def test_an_attack_stops_where_logits_are_nan(cliff):
    model, x, y = cliff
    # Steps of 0.01 from 0.5: 0.45 is passed at the sixth, or by rounding the fifth.
    (row,) = report_of(model, (x, y), BIM(eps=0.1, steps=10)).results
    assert 0.045 < row.max_linf < 0.065


@pytest.mark.integration
def test_infinite_logits_are_flagged(data):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, ops.exp(60 * network()(inputs)))
    x, y = data
    report = report_of(model, data, [FGSM(eps=0.1), PGD(eps=0.1)], diagnostics=True)
    infinite = ~np.isfinite(to_numpy(model(x))).all(-1)
    assert 0 < infinite.sum() < N
    assert not report.clean[infinite].any()
    assert names(report)[0] == "nan_outputs"
    assert f"on {infinite.sum()} of 60 images" in report.flags[0].message
    strict(report)


# Figures that say nothing


def test_a_constant_model_is_called_one(data):
    x, y = data
    model = network()
    *rest, last, bias = model.get_weights()
    model.set_weights([*rest, 0 * last, bias + np.eye(4, dtype="float32")[1]])
    y = np.where(np.arange(N) < 30, 1, 2)
    report = report_of(model, (x, y), PGD(eps=0.1), diagnostics=True)
    # Not the fault of an attack, which no model could let succeed here.
    assert names(report) == ["constant_outputs"]
    report = report_of(model, (x, (y + 1) % 4), PGD(eps=0.1), diagnostics=True)
    assert names(report) == ["constant_outputs", "near_chance"]
    first, *_ = report.to_markdown().splitlines()
    assert "the same for all 60 images" in first and "right on 0.0%" in first


def test_a_constant_subclassed_model_is_called_one(data):
    class Constant(keras.Model):
        def call(self, x):
            return ops.zeros((ops.shape(x)[0], 4)) + np.array([2.0, 1, 0, 0], "float32")

    model = Constant()
    x, y = data[0], np.arange(N) % 2
    model(x)
    assert "constant_outputs" in names(report_of(model, (x, y), FGSM(eps=0.1)))


def test_one_image_many_times_is_no_constant_model():
    model = of_unit(1)
    x = np.repeat(np.random.default_rng(0).random((1, *SHAPE), "float32"), 5, axis=0)
    y = to_numpy(model(x)).argmax(-1)
    report = report_of(model, (x, y), FGSM(eps=0.01))
    assert "constant_outputs" not in names(report)


def test_constant_by_hand():
    assert is_constant(np.ones((3, 2))) and not is_constant(np.eye(2))
    assert not is_constant(np.ones((1, 2))) and not is_constant(
        np.ones((2, 2)) * np.nan
    )


@pytest.mark.parametrize(
    "right,raised",
    # Chance is 1 / 4; 5% of the way from there to 1 is 0.2875, 17.25 of 60.
    [(0, True), (17, True), (18, False), (60, False)],
)
def test_near_chance(data, right, raised):
    x = data[0]
    y = to_numpy(of_unit(1)(x)).argmax(-1)
    y[right:] = (y[right:] + 1) % 4
    report = report_of(of_unit(1), (x, y), FGSM(eps=0.01))
    assert ("near_chance" in names(report)) == raised
    message = next(c.message for c in report.checks if c.name == "near_chance")
    assert f"{right / N:.1%} of the images" in message


@pytest.mark.integration
def test_images_in_another_unit_are_seen(data):
    x, y = data
    report = report_of(of_unit(255), (x, y), FGSM(eps=0.1))
    assert "pixel_unit" in names(report)
    (check,) = [c for c in report.checks if c.name == "pixel_unit"]
    assert "bounds=(0, 255)" in check.message and check.value > 0.3
    report = report_of(of_unit(1), (x * 255, y), FGSM(eps=8, bounds=(0, 255)))
    (check,) = [c for c in report.checks if c.name == "pixel_unit"]
    assert check.raised and "bounds=(0, 1)" in check.message


def test_images_in_their_unit_are_not_called_wrong(data):
    x, y = data
    # Half of them right: low, but no unit's fault.
    bad = (y + np.arange(N) % 2) % 4
    for factor in (1, 255):
        attack = FGSM(eps=0.01 * factor, bounds=(0, factor))
        report = report_of(of_unit(factor), (x * factor, bad), attack)
        assert "pixel_unit" not in names(report)


@pytest.mark.parametrize(
    "eps,bounds,raised",
    [(0.5, (0, 1), True), (0.49, (0, 1), False), (127.5, (0, 255), True)],
)
def test_an_eps_of_half_the_range(data, eps, bounds, raised):
    model = of_unit(bounds[1])
    x, y = data
    report = report_of(model, (x * bounds[1], y), FGSM(eps=eps, bounds=bounds))
    assert ("eps_covers_range" in names(report)) == raised
    assert raised == (f"eps of {eps:g} covers half" in report.to_markdown())
    l2 = report_of(model, (x * bounds[1], y), FGSM(eps=eps, norm="l2", bounds=bounds))
    assert "eps_covers_range" not in names(l2)


def test_what_figures_mean_comes_before_masked_gradients(cliff):
    model, x, y = cliff
    report = report_of(model, (x, y + 1), [FGSM(eps=0.5), PGD(eps=0.5, steps=2)])
    order = [name in FIRST for name in names(report)]
    assert order == sorted(order, reverse=True) and order[0]


# The worst case


@pytest.mark.parametrize("threat_model", ["crossentropy", None])
def test_attacks_without_a_radius_are_not_in_the_worst_case(data, threat_model):
    far = [JSMA(gamma=0.5), CarliniWagnerL2(target=None, max_iterations=50)]
    far.append(FMN(norm="l1", steps=10))
    near = FGSM(eps=0.001)
    model = of_unit(1)
    report = report_of(model, data, [*far, near], threat_model=threat_model)
    jsma, cw, fmn, fgsm = report.results
    assert min(jsma.robust_accuracy, cw.robust_accuracy) < 0.2
    assert (fmn.eps, fmn.norm) == (None, "l1") and fmn.robust_accuracy < 0.1
    assert fmn.median_l2 > 0 and "| FMN | – | l1 | own |" in report.to_markdown()
    assert report.worst_case_accuracy == fgsm.robust_accuracy > 0.8
    assert "robust in the worst case" in report.to_markdown().splitlines()[0]
    alone = report_of(model, data, far, threat_model=threat_model)
    first = alone.to_markdown().splitlines()[0]
    assert "robust in the worst case" not in first and "no robust accuracy" in first
    page = alone.to_html()
    assert "left by attacks without a radius" in page and "robust, worst" not in page
    # One group, in which FMN says what it measures in.
    assert "All rows: no radius" in page and ">, l1</span>" in page
    quick = report_of(model, data, [*far, near], worst_case_only=True)
    assert quick.worst_case_accuracy == report.worst_case_accuracy


# Gradients that are not numbers


class Encode(layers.Layer):
    """The sRGB curve; written carelessly its gradient at black is 0 * inf."""

    def __init__(self, safe):
        super().__init__()
        self.safe = safe

    def call(self, v):
        t = 0.0031308
        u = ops.maximum(v, t) if self.safe else v
        return ops.where(v > t, 1.055 * u ** (1 / 2.4) - 0.055, 12.92 * v)


@functools.cache
def encoding(safe):
    return network(Encode(safe))


@pytest.mark.integration
@pytest.mark.parametrize("norm,eps", [("linf", 0.02), ("l2", 0.1)])
def test_nan_gradients_cost_nothing_but_a_flag(norm, eps):
    x = np.random.default_rng(1).random((N, *SHAPE), "float32")
    x[x < 0.3] = 0  # Black.
    y = to_numpy(encoding(True)(x)).argmax(-1)
    attacks = [
        FGSM(eps=eps, norm=norm),
        PGD(eps=eps, norm=norm, steps=4, seed=0),
        MIM(eps=eps, norm=norm, steps=4),
        APGD(eps=eps, norm=norm, steps=4, seed=0),
    ]
    safe, careless = (
        report_of(encoding(one), (x, y), attacks) for one in (True, False)
    )
    assert 0.1 < safe.worst_case_accuracy < 0.9
    # Further rows, without the gradient, may have joined the careless one's.
    rows = slice(len(attacks))
    assert (safe.row_robust != careless.row_robust[rows]).sum(1).max() <= 1
    assert "nan_gradients" in names(careless) and "nan_gradients" not in names(safe)
    strict(careless)


@pytest.mark.integration
def test_nan_gradients_in_attacks_with_a_target():
    x = np.random.default_rng(1).random((N, *SHAPE), "float32")
    x[x < 0.3] = 0
    y = to_numpy(encoding(True)(x)).argmax(-1)
    attacks = [
        JSMA(gamma=0.2),
        CarliniWagnerL2(max_iterations=20, initial_const=1, binary_search_steps=3),
        FMN(steps=5),
    ]
    safe, careless = (
        report_of(encoding(one), (x, y), attacks) for one in (True, False)
    )
    for a, b in zip(safe.results, careless.results, strict=False):
        assert abs(a.robust_accuracy - b.robust_accuracy) <= 1 / N + 1e-9

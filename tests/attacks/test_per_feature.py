"""Radii and bounds that are arrays: by feature, or by channel."""

import dataclasses
import json
import pickle

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import attacks, evaluate
from keras_gce.attacks.ball import TensorSeed
from keras_gce.attacks.geometry import Geometry
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport, accuracy_curves, diagnose
from keras_gce.evaluation.cleverhans import CleverHansAttack
from keras_gce.per_feature import PerFeature
from keras_gce.training import AdversarialModel

SHAPE = (6, 6, 3)
LOW, HIGH = np.array([-2.0, -1.0, 0.0]), np.array([1.0, 2.0, 5.0])
# A third of the features may not change.
EPS = np.random.default_rng(3).uniform(0.02, 0.4, SHAPE)
EPS[:, ::3] = 0
# What attacks in a ball there are, in all of their norms, as quick as they can be.
IN_A_BALL = [
    ("FGSM", {}, ("linf", "l2")),
    ("BIM", {"steps": 3}, ("linf", "l2")),
    ("PGD", {"steps": 3, "restarts": 2}, ("linf", "l2")),
    ("MIM", {"steps": 3}, ("linf", "l2")),
    ("RandomNoise", {"samples": 5}, ("linf", "l2", "l1")),
    ("APGD", {"steps": 12}, ("linf", "l2", "l1")),
    ("APGDT", {"steps": 12, "num_targets": 2}, ("linf", "l2", "l1")),
    ("FAB", {"steps": 8, "restarts": 2, "num_targets": 2}, ("linf", "l2", "l1")),
    ("Square", {"queries": 12}, ("linf", "l2", "l1")),
    ("HopSkipJump", {"queries": 150, "probes": 8}, ("linf", "l2")),
]
SEAM = {("PGD", "l2"), ("APGD", "l1"), ("FAB", "l2"), ("HopSkipJump", "linf")}


@pytest.fixture(scope="module")
def model():
    return balanced(SHAPE)


@pytest.fixture(scope="module")
def images(model):
    share = np.random.default_rng(1).random((24, *SHAPE), "float32")
    # Some at the bounds, where attacks have no room.
    share = np.clip(1.2 * share - 0.1, 0, 1)
    x = (LOW + share * (HIGH - LOW)).astype("float32")
    x = np.clip(x, LOW.astype("float32"), HIGH.astype("float32"))
    return x, to_numpy(model(x)).argmax(-1).astype("int32")


# Under each backend one of a kind.
@pytest.mark.parametrize(
    "name,settings,norm",
    [
        pytest.param(name, settings, n, marks=[pytest.mark.seam] * ((name, n) in SEAM))
        for name, settings, norms in IN_A_BALL
        for n in norms
    ],
)
def test_balls_by_feature_and_bounds_by_channel_are_kept(
    model, images, name, settings, norm
):
    x, y = images
    times = {"linf": 1, "l2": 8, "l1": 60}[norm]
    attack = getattr(attacks, name)(
        eps=times * EPS, norm=norm, bounds=(LOW, HIGH), seed=0, **settings
    )
    x_adv = to_numpy(attack(model, x, y))
    assert x_adv.dtype == np.float32 and np.isfinite(x_adv).all()
    assert ((x_adv >= np.float32(LOW)) & (x_adv <= np.float32(HIGH))).all()
    delta, eps = x_adv.astype("float64") - x, times * EPS
    assert (delta[:, eps == 0] == 0).all() and delta.any()
    units = np.abs(delta[:, eps > 0] / eps[eps > 0])
    if norm == "linf":
        assert (np.abs(x_adv - x) <= np.float32(eps)).all()
    elif norm == "l2":
        assert np.sqrt((units**2).sum(-1)).max() <= 1 + 2e-6
    else:
        assert units.sum(-1).max() <= 1 + 2e-6
    broken = to_numpy(model(x_adv)).argmax(-1) != y
    assert name in ("RandomNoise", "Square") or broken.any()


def every_attack():
    with_ball = {name for name, _, _ in IN_A_BALL} | {"AutoAttack"}
    for name in attacks.__all__:
        kind = getattr(attacks, name)
        if dataclasses.is_dataclass(kind) and issubclass(kind, attacks.BallAttack):
            yield name, name in with_ball


def test_no_attack_in_a_ball_is_forgotten():
    missing = {name for name, known in every_attack() if not known}
    assert missing == {"BallAttack", "LossAttack"}


@pytest.mark.parametrize(
    "attack,norm",
    [
        ("APGD", "linf"),
        ("APGD", "l2"),
        ("APGD", "l1"),
        ("FAB", "linf"),
        ("FAB", "l2"),
        ("FAB", "l1"),
        ("PGD", "l2"),
        ("Square", "linf"),
        ("HopSkipJump", "l2"),
    ],
)
def test_a_linear_model_falls_where_the_closed_form_says(attack, norm):
    """Within the ball by feature the margin falls by at most the dual norm of eps w."""
    rng = np.random.default_rng(0)
    shape = (2, 2, 3)
    linear = keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    w, eps = rng.normal(size=12), rng.uniform(0.1, 0.5, 12)
    eps[[1, 5, 6]] = 0
    linear.set_weights([np.stack([0 * w, w], -1), np.zeros(2)])
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    reach = np.linalg.norm(eps * w, dual)
    # From well inside to well outside of what can be reached, on either side.
    lead = reach * np.array([0.5, 0.9, 0.97, 1.03, 1.1, 1.5])
    lead = np.concatenate([lead, -lead])
    x = rng.normal(size=(12, 12))
    x += ((lead - x @ w) / (w @ w))[:, None] * w
    x, y = x.reshape(12, *shape).astype("float32"), (lead > 0).astype("int32")
    settings = {
        "Square": {"queries": 400},
        "HopSkipJump": {"queries": 3000},
        "FAB": {"num_targets": 1},
        "PGD": {},
        "APGD": {},
    }[attack]
    made = getattr(attacks, attack)(
        eps=eps.reshape(shape), norm=norm, bounds=(-99, 99), seed=0, **settings
    )
    broken = to_numpy(linear(made(linear, x, y))).argmax(-1) != y
    within = np.abs(lead) < reach
    if attack == "HopSkipJump":  # From the class alone it comes only so near.
        assert (broken <= within).all() and broken.sum() >= 4
    else:
        np.testing.assert_array_equal(broken, within)


@pytest.mark.parametrize(
    "attack",
    [
        attacks.JSMA(gamma=0.05, seed=0),
        attacks.CarliniWagnerL2(
            seed=0, max_iterations=40, binary_search_steps=2, initial_const=1.0
        ),
        attacks.FMN(norm="l2", steps=20),
    ],
    ids=lambda attack: attack.name,
)
def test_attacks_without_a_radius_know_bounds_by_channel(model, attack):
    """Images normalised outside the model: what holds in [0, 1] holds there."""
    x, y = labelled(model, 12, SHAPE)
    mean, deviation = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
    inputs = keras.Input(SHAPE)
    value = keras.layers.Rescaling(deviation.tolist(), mean.tolist())(inputs)
    outside = keras.Model(inputs, model(value))
    low, high = (0 - mean) / deviation, (1 - mean) / deviation
    moved = np.clip((x - mean) / deviation, low, high).astype("float32")
    there = to_numpy(attack.with_bounds((low, high))(outside, moved, y))
    assert ((there >= np.float32(low)) & (there <= np.float32(high))).all()
    here = to_numpy(attack(model, x, y))
    back = there * deviation + mean
    if attack.name == "FMN":  # It measures in the images' own unit.
        assert (to_numpy(model(back)).argmax(-1) != y).all()
    else:
        same = np.abs(back - here).max(axis=(1, 2, 3)) < 1e-3
        assert same.mean() > 0.9


def test_images_of_a_constant_array_are_those_of_its_number(model, images):
    x, y = images
    for norm in ("linf", "l2"):
        common = {"norm": norm, "bounds": (-2.0, 5.0), "steps": 5, "seed": 0}
        one = attacks.PGD(eps=0.3, **common)
        many = attacks.PGD(eps=np.full(SHAPE, 0.3), **common)
        np.testing.assert_allclose(
            to_numpy(one(model, x, y)), to_numpy(many(model, x, y)), atol=1e-5
        )


@pytest.mark.parametrize(
    "eps,text",
    [
        (-EPS, ">= 0"),
        (np.full(3, np.nan), "finite"),
        (np.array(["a", "b"]), "eps"),
        (np.array([]), "eps"),
        ([[0.1], [0.1, 0.2]], "shape"),
        (np.array([True, False]), "eps"),
    ],
)
def test_no_radii(eps, text):
    with pytest.raises(InputError, match=text) as caught:
        attacks.PGD(eps=eps)
    assert "Received" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bounds",
    [
        (LOW, LOW),
        (HIGH, LOW),
        (LOW, np.array([1.0, np.nan, 5.0])),
        (LOW, np.ones(4)),
        (LOW, 0.0),
        (LOW,),
        ("a", "b"),
        (LOW, None),
        (np.ones(SHAPE), np.zeros(SHAPE)),
    ],
)
def test_no_bounds(bounds):
    with pytest.raises(InputError, match="`bounds` must be") as caught:
        attacks.PGD(eps=0.1, bounds=bounds)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings,text",
    [
        ({"eps": np.ones(4)}, r"`eps` must broadcast .* \(6, 6, 3\).*\(4,\)"),
        ({"eps": np.ones((2, *SHAPE))}, "`eps` must broadcast"),
        ({"eps": 1.0, "bounds": (-np.ones(4), np.ones(4))}, "`bounds` must broadcast"),
        ({"eps": 1.0, "bounds": (LOW, HIGH - 0.5)}, "`x` must lie within"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(model, images, settings, text):
    attack = attacks.FGSM(**{"bounds": (LOW, HIGH), **settings})
    with pytest.raises(InputError, match=text):
        attack(model, *images)
    with pytest.raises(InputError, match=text):
        evaluate(model, images, attack, progress=False)
    with pytest.raises(InputError, match=text):
        AdversarialModel(model, attack).look(*images)


def test_one_line_of_an_array_that_was_no_setting():
    for wrong in ({"step_size": EPS}, {"steps": np.ones((4, 4), int)}):
        with pytest.raises(InputError, match="Received") as caught:
            attacks.PGD(eps=EPS, **wrong)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_settings_are_short_and_tell_arrays_apart():
    attack = attacks.PGD(eps=EPS, bounds=(LOW, HIGH))
    assert len(repr(attack)) < 400 and "shape=(6, 6, 3), 0 to 0.38" in repr(attack)
    other = EPS.copy()
    other[0, 1, 0] /= 2
    assert repr(attack) != repr(attacks.PGD(eps=other, bounds=(LOW, HIGH)))
    same = attacks.PGD(eps=EPS.tolist(), bounds=(LOW.tolist(), HIGH))
    assert attack == same and hash(attack) == hash(same)
    assert pickle.loads(pickle.dumps(attack)) == attack
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(attack)))
    assert keras.saving.deserialize_keras_object(config) == attack
    before = attack.eps
    with pytest.raises(ValueError, match="read-only"):
        before.values[0] = 1
    assert PerFeature([1, 2]) == PerFeature([1.0, 2.0]) != PerFeature([[1, 2]])


def test_a_report_says_that_radii_are_by_feature(model, images):
    x, y = images
    ball = {"eps": EPS, "bounds": (LOW, HIGH), "seed": 0}
    given = [
        attacks.PGD(steps=5, **ball),
        attacks.PGD(steps=5, **{**ball, "eps": 0.5 * EPS}),
    ]
    report = evaluate(model, images, given, progress=False)
    greatest = float(EPS.max())
    assert {row.eps for row in report.results} == {greatest, greatest / 2}
    assert report.results[0].settings["eps"] == repr(PerFeature(EPS))
    assert report.results[0].settings["bounds"] == [
        repr(PerFeature(LOW)),
        repr(PerFeature(HIGH)),
    ]
    for text in (str(report), report.to_markdown(), report.to_latex()):
        assert "by feature" in text
    again = RobustnessReport.from_json(report.to_json())
    assert again.to_markdown() == report.to_markdown()
    assert "each has an eps of its own" in report.to_html()
    assert len(report.checks) > 10


def test_attacks_of_a_call_share_their_radii(model, images):
    given = [attacks.FGSM(eps=EPS, bounds=(LOW, HIGH)), attacks.FGSM(eps=0.1)]
    with pytest.raises(InputError, match="multiples"):
        evaluate(model, images, given, bounds=(LOW, HIGH), progress=False)


def test_a_checkpoint_tells_arrays_apart(model, images, tmp_path):
    ball = {"eps": EPS, "bounds": (LOW, HIGH), "seed": 0}
    first = evaluate(
        model, images, attacks.FGSM(**ball), checkpoint=tmp_path, progress=False
    )
    again = evaluate(
        model, images, attacks.FGSM(**ball), checkpoint=tmp_path, progress=False
    )
    assert (first.robust == again.robust).all()
    other = EPS.copy()
    other[EPS > 0] = EPS.max()
    with pytest.raises(InputError, match="checkpoint"):
        attack = attacks.FGSM(**{**ball, "eps": other})
        evaluate(model, images, attack, checkpoint=tmp_path, progress=False)


def test_curves_and_signs_stay_in_the_ball_of_the_shares(images, model):
    """What evaluation runs of its own accord leaves the same features alone."""
    x, y = images
    # All that the model looks at may not change.
    mask = np.ones(SHAPE)
    mask[:3] = 0
    crop = keras.layers.Cropping2D(((0, 3), (0, 0)))
    blind = balanced((3, 6, 3))
    inputs = keras.Input(SHAPE)
    blind = keras.Model(inputs, blind(crop(inputs)))
    y = to_numpy(blind(x)).argmax(-1).astype("int32")
    attack = attacks.PGD(eps=mask, bounds=(LOW, HIGH), steps=5, seed=0)
    (curve, *_) = accuracy_curves(blind, (x, y), [1.0, 50.0], attack, progress=False)
    assert curve.accuracy == [1.0, 1.0, 1.0]
    flags = {
        flag.name: flag
        for flag in diagnose(blind, x, y, 0.3 * mask, bounds=(LOW, HIGH))
    }
    assert flags["black_box_gains_with_eps"].value == 0
    assert flags["more_steps_gain"].value == 0
    assert flags["substitute_beats_attacks"].value == 0


def test_cleverhans_takes_numbers():
    with pytest.raises(InputError, match="numbers for CleverHans"):
        CleverHansAttack("pgd", eps=EPS)
    with pytest.raises(InputError, match="numbers for CleverHans"):
        CleverHansAttack("pgd", eps=0.1, bounds=(LOW, HIGH))


@pytest.mark.seam
def test_training_leaves_features_alone(model, images):
    x, y = images
    network = balanced(SHAPE, seed=1)
    attack = attacks.PGD(eps=EPS, bounds=(LOW, HIGH), steps=2, seed=0)
    trained = AdversarialModel(network, attack, warmup_steps=4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile("sgd", loss)
    trained.fit(x, y, batch_size=12, epochs=2, verbose=0)
    # The same perturbation as in a step, whole and half warmed up.
    seed = np.array([0, 0], "int32")
    for factor in (1.0, 0.5):
        settings = attack.settings(0) | {"seed": seed}
        settings["eps"] = np.float32(factor) * settings["eps"]
        tensors = {n: ops.convert_to_tensor(value) for n, value in settings.items()}
        batch = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
        x_adv = to_numpy(attack.perturb(network, *batch, **tensors))
        assert (np.abs(x_adv - x) <= np.float32(factor * EPS)).all()
        assert (x_adv != x).any()


def test_multiples_share_a_trace():
    attack = attacks.PGD(eps=EPS, bounds=(LOW, HIGH))
    for factor in (3, 0.1, 1 / 7):
        assert attacks.PGD(eps=factor * EPS, bounds=(LOW, HIGH)).kind == attack.kind


@pytest.mark.seam
def test_the_l1_projection_is_the_nearest_point_in_units():
    rng = np.random.default_rng(0)
    shares = PerFeature([1.0, 0.5, 0.0, 0.25])
    geometry = Geometry("l1", (0.0, 1.0), shares)
    x = rng.random((6, 4)).astype("float32")
    x_adv = (x + rng.normal(size=x.shape)).astype("float32")
    pair = ops.convert_to_tensor(x_adv), ops.convert_to_tensor(x)
    point = to_numpy(geometry.keep(*pair, np.float32(0.4)))
    some = shares.values > 0
    units = np.abs(point - x)[:, some] / shares.values[some]
    assert (point[:, 2] == x[:, 2]).all()
    np.testing.assert_array_less(units.sum(-1), 0.4 * (1 + 2e-6))

    def away(p):
        return (((p - x_adv)[:, some] / shares.values[some]) ** 2).sum(-1)

    # No random point of the ball and the bounds is nearer.
    for _ in range(300):
        u = rng.dirichlet(np.ones(3), 6) * 0.4 * rng.random((6, 1))
        other = x.copy()
        other[:, some] += u * rng.choice([-1, 1], (6, 3)) * shares.values[some]
        assert (away(np.clip(other, 0, 1)) >= away(point) - 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_is_random_lies_in_the_free_features(norm):
    """Two of a hundred features are free: balls of two dimensions, not of a hundred."""
    shares = np.zeros(100)
    shares[[3, 70]] = 1.0, 0.5
    geometry = Geometry(norm, (-9.0, 9.0), PerFeature(shares))
    x = ops.zeros((2000, 100))
    seed = TensorSeed(ops.convert_to_tensor(np.array([0, 0], "int32")))
    length = to_numpy(geometry.length(geometry.random_direction(x, seed)))
    np.testing.assert_allclose(length, 1.0, rtol=1e-5)
    points = to_numpy(geometry.random_point(x, 2.0, seed))
    assert (points[:, shares == 0] == 0).all() and np.abs(points).max() <= 2.0
    # Of the area of a ball half lies within 0.71 of its radius.
    within = to_numpy(geometry.length(points)).ravel() <= 2.0 * 0.5**0.5
    assert within.mean() == pytest.approx(0.5, abs=0.05)

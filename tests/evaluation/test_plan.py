"""What an evaluation runs, and the attacks where it depends on how they are run."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced

from keras_gce.attacks import (
    APGD,
    BIM,
    FGSM,
    JSMA,
    MIM,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
    Square,
    Transfer,
)
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.plan import make_plan

SPARSE = keras.losses.SparseCategoricalCrossentropy
RUNS = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen(PGD):
    """PGD that says when it runs."""

    steps: int = 1

    def run(self, *args, **kwargs):
        RUNS.append(self.loss)
        return super().run(*args, **kwargs)


def network(shape=(8, 8, 1), classes=5, first=(), seed=0, compiled=None):
    model = balanced(shape, classes, first, seed)
    if compiled:
        model.compile(loss=compiled)
    return model


def data_of(model, count=40, shape=(8, 8, 1)):
    x = np.random.default_rng(1).random((count, *shape), "float32")
    return x, to_numpy(model(x)).argmax(-1).astype("int32")


@pytest.fixture(scope="module")
def model():
    return network(compiled=SPARSE(from_logits=True))


@pytest.fixture(scope="module")
def data(model):
    return data_of(model)


def rows_of(plan):
    return [(row.attack.name, row.attack.loss) for row in plan.rows]


# The rows


LOSSES = ["crossentropy", "training", "margin"]


def test_attacks_that_differ_in_their_loss_alone_run_once(model, data):
    attacks = [Seen(eps=0.1, loss=loss) for loss in ("crossentropy", "margin")]
    plan = make_plan(attacks, "adaptive", Classifier(model))
    assert rows_of(plan) == [("Seen", loss) for loss in LOSSES]
    RUNS.clear()
    report = evaluate(model, data, attacks, "adaptive", progress=False)
    # The training loss is cross-entropy, whose row is copied.
    assert len(report.results) == 3 and RUNS == ["crossentropy", "margin"]
    assert [row.same_as for row in plan.rows] == [None, 0, None]


def test_the_same_attack_twice_runs_once(model):
    for attack in (PGD(eps=0.1), JSMA(), Square(eps=0.1)):
        plan = make_plan([attack, attack], None, Classifier(model))
        assert plan.attacks == [attack]
    plan = make_plan([PGD(eps=0.1), PGD(eps=0.1, seed=1)], None, Classifier(model))
    assert len(plan.rows) == 2


def test_attacks_equal_once_bounds_are_given_run_once(model):
    attacks = [FGSM(eps=5), FGSM(eps=5, bounds=(0, 255))]
    assert len(make_plan(attacks, None, Classifier(model)).rows) == 2
    plan = make_plan(attacks, None, Classifier(model), bounds=(0, 255))
    assert [attack.bounds for attack in plan.attacks] == [(0, 255)]


def test_another_training_loss_is_no_copy():
    other = network(compiled=SPARSE(from_logits=True, ignore_class=0))
    plan = make_plan(FGSM(eps=0.1), "adaptive", Classifier(other))
    assert [row.same_as for row in plan.rows] == [None, None, None]


def test_the_rows_of_an_ensemble_are_a_group(model):
    attacks = [AutoAttack(eps=0.1), AutoAttack(eps=0.2), FGSM(eps=0.1)]
    plan = make_plan(attacks, None, Classifier(model))
    assert [row.group for row in plan.rows] == [0] * 4 + [1] * 4 + [None]
    opens = [row.opens for row in plan.rows]
    assert opens == [True, False, False, False] * 2 + [True]


def test_the_worst_case_has_two_groups(model):
    attacks = [JSMA(), FGSM(eps=0.1), CarliniWagnerL2(), AutoAttack(eps=0.1)]
    plan = make_plan(attacks, None, Classifier(model), worst_case_only=True)
    assert [row.group for row in plan.rows] == [0, 1, 0, 1, 1, 1, 1]
    assert [row.opens for row in plan.rows] == [True, True] + [False] * 5


def test_an_attack_beside_an_ensemble_is_compared_by_its_first_row(model, data):
    # Of each AutoAttack the first row has attacked all examples: only that one may
    # say whether the larger ball leaves more.
    attacks = [
        AutoAttack(eps=0.02, version="rand"),
        AutoAttack(eps=0.01, version="rand"),
    ]
    report = evaluate(model, data, attacks, progress=False)
    assert [row.ensemble for row in report.results] == ["AutoAttack"] * 4
    large, _, small, _ = (row.robust_accuracy for row in report.results)
    assert large < small
    (check,) = [c for c in report.checks if c.name == "larger_eps_is_weaker"]
    assert check.value == pytest.approx(large - small) and not check.raised


@dataclasses.dataclass
class Scaled:
    """A loss of the user's own that Python can't hash."""

    by: float = 1.0

    def __call__(self, y, z):
        return self.by * ops.sparse_categorical_crossentropy(y, z, from_logits=True)


def test_a_loss_that_has_no_hash(model, data):
    plain = evaluate(model, data, FGSM(eps=0.02), None, progress=False)
    report = evaluate(model, data, FGSM(eps=0.02, loss=Scaled()), None, progress=False)
    np.testing.assert_array_equal(report.row_robust, plain.row_robust)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": np.int32(5)},
        {"seed": np.int64(5)},
        {"seed": np.uint8(200)},
        {"eps": np.float32(0.1)},
        {"steps": np.int64(2)},
        {"step_size": np.float32(0.1)},
    ],
    ids=str,
)
def test_settings_that_are_numbers_of_numpy(model, data, settings):
    attack = PGD(**{"eps": 0.1, "steps": 2, "seed": 5, **settings})
    report = evaluate(model, data, attack, None, progress=False)
    (name,) = settings
    assert f'"{name}": {settings[name]}' in report.to_json()


# Refused before any attack has run


def refused_before_any_run(received, model, data, attack, **options):
    RUNS.clear()
    with pytest.raises(InputError, match=received) as error:
        evaluate(model, data, [Seen(eps=0.1), attack], progress=False, **options)
    assert RUNS == [] and "\n" not in str(error.value)


def test_square_on_vectors():
    vectors = network((8,))
    refused_before_any_run(
        r"x.shape=\(40, 8\)",
        vectors,
        data_of(vectors, shape=(8,)),
        AutoAttack(eps=0.1),
    )


def test_autoattack_on_three_classes():
    three = network(classes=3)
    refused_before_any_run("3 classes", three, data_of(three), AutoAttack(eps=0.1))


def test_jsma_without_a_pair(model, data):
    # 64 features: a pair is a share of 2 / 64.
    refused_before_any_run(
        "at least 0.0312 .*gamma=0.03", model, data, JSMA(gamma=0.03)
    )
    assert make_plan(JSMA(gamma=2 / 64), None, Classifier(model)).rows
    JSMA(gamma=2 / 64).check(Classifier(model), *data)


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_dlr_of_two_classes(kind):
    two = network(classes=2)
    refused_before_any_run(
        "2 classes",
        two,
        data_of(two),
        kind(eps=0.1, loss="dlr"),
        threat_model=None,
    )


def test_transfer_from_other_classes(model, data):
    source = network(classes=4)
    refused_before_any_run(
        "model's 5 classes. Received: sequential.* with 4",
        model,
        data,
        Transfer(source=source, attack=FGSM(eps=0.1)),
    )


def test_transfer_from_images_of_another_shape(model, data):
    source = network((6, 6, 1))
    refused_before_any_run(
        r"x.shape=\(.*8, 8, 1\)",
        model,
        data,
        Transfer(source=source, attack=FGSM(eps=0.1)),
    )


@pytest.mark.parametrize("target", [5, 0])
def test_targets_that_can_not_be(model, data, target):
    attack = CarliniWagnerL2(target=target, max_iterations=1)
    assert target == 5 or (data[1] == target).any()
    refused_before_any_run(f"target={target}", model, data, attack)


def test_a_training_loss_that_is_not_there(model, data):
    refused_before_any_run(
        "loss=None",
        network(),
        data,
        PGD(eps=0.1, loss="training"),
        threat_model=None,
    )


def test_images_outside_one_of_several_bounds(model, data):
    refused_before_any_run(
        "values from .* to 0.99", model, data, FGSM(eps=0.1, bounds=(0, 0.5))
    )


# The unit of the pixels, and where the channels are


UNIT_FREE = [
    JSMA(gamma=0.2, seed=0),
    JSMA(theta=-0.5, gamma=0.2, seed=0),
    CarliniWagnerL2(max_iterations=60, binary_search_steps=3, seed=0),
    CarliniWagnerL2(target=None, max_iterations=60, binary_search_steps=3),
]


@pytest.mark.parametrize("attack", UNIT_FREE, ids=lambda a: f"{a.name}-{a.target}")
def test_the_unit_of_the_pixels_changes_nothing(model, data, attack):
    x, y = data
    of_255 = network(first=[layers.Rescaling(1 / 255)])
    a = to_numpy(attack(model, x, y))
    b = to_numpy(attack.with_bounds((0, 255))(of_255, x * 255, y))
    assert np.abs(a - x).max() > 0.05
    # Rounding may decide one pair or one step of Adam otherwise.
    same = np.abs(a - b / 255).reshape(len(x), -1).max(1) <= 1e-4
    assert same.mean() >= 0.95
    one, other = (
        evaluate(m, (images, y), attack, bounds=bounds, progress=False)
        for m, images, bounds in ((model, x, None), (of_255, x * 255, (0, 255)))
    )
    assert (one.row_robust != other.row_robust).sum() <= 1
    assert one.worst_case_accuracy < 1


@pytest.mark.parametrize("norm,eps", [("linf", 0.05), ("l2", 0.6)])
def test_square_in_another_unit(model, data, norm, eps):
    x, y = data
    of_255 = network(first=[layers.Rescaling(1 / 255)])
    attack = Square(eps=eps, norm=norm, queries=30, seed=0)
    other = dataclasses.replace(attack, eps=eps * 255, bounds=(0, 255))
    a, b = (
        to_numpy(one(m, images, y))
        for one, m, images in ((attack, model, x), (other, of_255, x * 255))
    )
    same = np.abs(a - b / 255).reshape(len(x), -1).max(1) <= 1e-4
    assert same.mean() >= 0.95
    assert (to_numpy(model(a)).argmax(-1) != y).mean() > 0.2


@pytest.mark.parametrize("norm,eps", [("linf", 0.03), ("l2", 0.6)])
def test_square_knows_where_the_channels_are(norm, eps):
    last = network((8, 8, 3))
    inputs = keras.Input((3, 8, 8))
    # Flatten moves the channels last itself, and says so.
    value = layers.Flatten(data_format="channels_first")(inputs)
    value = layers.Dense(12, "relu")(value)
    first = keras.Model(inputs, layers.Dense(5)(value))
    first.set_weights(last.get_weights())
    x, y = data_of(last, shape=(8, 8, 3))
    attack = Square(eps=eps, norm=norm, queries=30, seed=0)
    moved = np.moveaxis(x, -1, 1)
    np.testing.assert_allclose(to_numpy(first(moved)), to_numpy(last(x)), atol=1e-5)
    a, b = to_numpy(attack(last, x, y)), to_numpy(attack(first, moved, y))
    assert Classifier(first).data_format == "channels_first"
    np.testing.assert_allclose(np.moveaxis(a, -1, 1), b, atol=1e-6)


# Steps


@pytest.mark.parametrize(
    "attack,step_size",
    # 2.5 eps / steps of Madry et al.; eps / steps of Kurakin et al. and Dong et al.
    [
        (PGD(eps=0.4, steps=10, seed=0), 0.1),
        (PGD(eps=0.4, steps=10, seed=0, random_start=False), 0.1),
        (BIM(eps=0.4, steps=8), 0.05),
        (MIM(eps=0.4, steps=8), 0.05),
        (FGSM(eps=0.4), 0.4),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_default_step(model, data, attack, step_size):
    x, y = data
    default = to_numpy(attack(model, x, y))
    assert attack.settings(0)["step_size"] == np.float32(step_size)
    if attack.name == "FGSM":
        assert np.abs(default - x).max() > 0.399
        return
    given = dataclasses.replace(attack, step_size=step_size)
    np.testing.assert_array_equal(default, to_numpy(given(model, x, y)))
    other = dataclasses.replace(attack, step_size=step_size / 2)
    assert not np.array_equal(default, to_numpy(other(model, x, y)))


class Counting(layers.Layer):
    """Counts the passes of each image, known by its second pixel."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def call(self, v):
        import tensorflow

        def count(images):
            self.passes.append(images.numpy().reshape(len(images), -1))
            return images

        counted = tensorflow.py_function(count, [v], "float32")
        counted = tensorflow.ensure_shape(counted, v.shape)
        return v + tensorflow.stop_gradient(counted - v)


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_all_restarts_take_the_same_steps(tf, restarts):
    counting = Counting()
    model = network(first=[counting])
    x, y = data_of(model, 6)
    steps, eps = 4, 1e-4  # Too small to succeed: nothing leaves early.
    attack = PGD(eps=eps, steps=steps, restarts=restarts, seed=0)
    counting.passes.clear()
    x_adv = to_numpy(attack.run(Classifier(model), x, y, seed=0, stop_early=True))
    assert (to_numpy(network()(x_adv)).argmax(-1) == y).all()
    passes = np.array(counting.passes)
    # A look at the end of each restart but the last, which the caller looks at.
    assert len(passes) == steps * restarts + restarts - 1
    starts = passes[:: steps + 1]
    assert len(starts) == restarts
    flat = x.reshape(6, -1)
    for a in range(restarts):
        assert np.abs(starts[a] - flat).max() <= eps * (1 + 1e-2)
        assert not any(np.array_equal(starts[a], starts[b]) for b in range(a))
    # All of a restart's steps move on from its start.
    for passed in (passes[i : i + steps] for i in range(0, len(passes), steps + 1)):
        moved = np.abs(np.diff(passed, axis=0)).max(axis=(1, 2))
        assert len(moved) == steps - 1 and (moved > 0).all()
    # The last step's end is what is returned.
    assert np.abs(x_adv.reshape(6, -1) - passes[-1]).max() > 0


@pytest.mark.parametrize("margin,succeeds", [(0.35, True), (0.45, False)])
def test_a_second_restart_goes_as_far_as_the_first(margin, succeeds):
    # Two classes of the logits [0, z] with z = the sum of four features - 2 - margin,
    # which is at most 0.4 - margin. Four steps of eps / 2 reach the ball's best corner
    # from anywhere in it; three do not.
    kernel = np.ones((4, 1), "float32")
    inputs = keras.Input((4,))
    z = ops.matmul(inputs, ops.convert_to_tensor(kernel)) - (2 + margin)
    model = keras.Model(inputs, ops.concatenate([0 * z, z], axis=-1))
    x, y = np.full((8, 4), 0.5, "float32"), np.zeros(8, int)
    attack = PGD(eps=0.1, step_size=0.05, steps=4, restarts=2, seed=0)
    found = to_numpy(attack.run(Classifier(model), x, y, seed=0, stop_early=True))
    assert ((found.sum(1) > 2 + margin) == succeeds).all()
    if not succeeds:
        np.testing.assert_allclose(found, 0.6, atol=1e-6)


def test_restarts_under_an_early_stop_are_those_without(model, data):
    x, y = data
    one = PGD(eps=0.03, steps=5, seed=0)
    many = dataclasses.replace(one, restarts=3)
    left = [
        evaluate(model, data, attack, None, progress=False).row_robust[0]
        for attack in (one, many)
    ]
    # The first start is the same, so that more of them break no less.
    assert not (left[1] & ~left[0]).any()
    whole = to_numpy(many.run(Classifier(model), x, y, seed=0))
    right = Classifier(model).right(whole, y)
    assert 0.1 < right.mean() < 0.9
    # Ours leaves at the first success, which later steps may undo.
    assert not (left[1] & ~right).any()

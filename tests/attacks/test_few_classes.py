"""AutoAttack where its authors' can't run: 2 or 3 classes, tables, sequences."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_gce.attacks import APGD, APGDT, AutoAttack, Transfer
from keras_gce.classifier import Classifier
from keras_gce.evaluation import RobustnessReport, evaluate, merge
from keras_gce.evaluation.door import at_the_door

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Short(AutoAttack):
    """The ensemble, with fewer steps and queries."""

    @property
    def attacks(self):
        *others, square = super().attacks
        fewer = [dataclasses.replace(attack, steps=20) for attack in others]
        return *fewer, dataclasses.replace(square, queries=30)


def network(shape, outputs, activation=None):
    layer = layers.Dense(outputs, activation=activation)
    flatten = [layers.Flatten()] if len(shape) > 1 else []
    return keras.Sequential([keras.Input(shape), *flatten, layer])


@pytest.mark.parametrize(
    ("shape", "outputs", "name"),
    [
        ((8, 8, 1), 4, "AutoAttack"),
        ((8, 8, 1), 3, "AutoAttack, 3 classes"),
        ((8, 8, 1), 2, "AutoAttack, 2 classes"),
        ((8, 8, 1), 1, "AutoAttack, 2 classes"),
        ((5,), 10, "AutoAttack, table"),
        ((5,), 1, "AutoAttack, 2 classes, table"),
        ((6, 2), 3, "AutoAttack, 3 classes, sequence"),
        ((2, 4, 4, 1), 4, "AutoAttack, no image"),
    ],
)
def test_its_name_says_where_it_is_not_the_authors(shape, outputs, name):
    model = network(shape, outputs)
    assert AutoAttack(eps=0.1).ensemble(Classifier(model)) == name
    # Not taken for it as the attack of a source either.
    transfer = Transfer(source=model, attack=AutoAttack(eps=0.1))
    assert transfer.name == f"Transfer {name}"


def test_the_losses_that_remain():
    def losses(outputs, version):
        attack = AutoAttack(eps=0.1, version=version)
        rows = attack.rows(Classifier(models[outputs]))
        assert [row.name for row in rows] == [one.name for one in attack.attacks]
        assert outputs == 2 or rows == attack.attacks
        return [row.loss for row in rows if row.loss]

    models = {outputs: network((8, 8, 1), outputs) for outputs in (2, 3, 4)}
    for version, ratio in (("standard", []), ("plus", ["dlr"]), ("rand", ["dlr"])):
        for outputs in (3, 4):
            assert losses(outputs, version) == ["crossentropy", *ratio]
        margin = ["margin"] * len(ratio)
        assert losses(2, version) == ["crossentropy", *margin]


class Shapeless(keras.Model):
    """Built by hand: what it takes, and returns, is known from the images alone."""

    def __init__(self):
        super().__init__()
        self.built = True

    def call(self, x):
        return ops.concatenate([x[:, :1] - x[:, 1:2], x[:, 1:2] - x[:, :1]], axis=-1)


def test_a_model_that_has_seen_no_image():
    model = Shapeless()
    assert Classifier(model).input_shape is None
    data = np.array([[0.6, 0.1, 0.2]], "float32"), np.array([0])
    task = at_the_door(model, data, AutoAttack(eps=0.1), None, 500, False, None)
    names = {row.ensemble for row in task.plan.rows}
    assert names == {"AutoAttack, 2 classes, table"}


def linear(activation, outputs, norm, features=12, count=20):
    """A linear model, data, and how far each example is from its nearest error."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(features, outputs)).astype("float32")
    model = network((features,), outputs, activation)
    model.set_weights([w, rng.normal(size=outputs) / 10])
    x = rng.normal(size=(count, features)).astype("float32")
    z = x.astype("float64") @ w + model.get_weights()[1]
    if outputs == 1:
        w, z = np.hstack([0 * w, w]), np.hstack([0 * z, z])
    y = z.argmax(-1)
    away = np.full(z.shape, np.inf)
    for k in range(z.shape[1]):
        slope = np.linalg.norm(w - w[:, k : k + 1], DUAL[norm], axis=0)
        other = y != k
        away[other, k] = (z.max(-1) - z[:, k])[other] / slope[y[other]]
    return model, x, y, away.min(-1)


def evaluated(norm, outputs, activation, parts=(None,), **settings):
    """Reports at an eps within which half of the examples have an error."""
    model, x, y, away = linear(activation, outputs, norm)
    eps = float(np.sort(away)[9:11].mean())
    attack = Short(eps=eps, norm=norm, bounds=(-20, 20), seed=0)
    settings |= {"progress": False, "diagnostics": False, "batch_size": 10}
    reports = [evaluate(model, (x, y), attack, part=i, **settings) for i in parts]
    return reports, away > eps


@pytest.fixture(scope="module")
def sigmoid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    halves = (1, 2), (2, 2)
    parts, right = evaluated("linf", 1, "sigmoid", halves, checkpoint=folder)
    return merge(parts), right


@pytest.mark.seam
def test_of_a_linear_model_exactly_what_lies_within_eps_is_broken(sigmoid):
    """In linf: where eps |w|_1 is greater than the margin."""
    report, right = sigmoid
    np.testing.assert_array_equal(report.robust, right)
    name = "AutoAttack, 2 classes, table"
    assert [row.label for row in report.results] == [
        f"{name}: {kind}" for kind in ("APGD", "APGD-T", "FAB-T", "Square")
    ]


@pytest.mark.parametrize(
    ("norm", "outputs", "activation"), [("l2", 2, "softmax"), ("l1", 3, None)]
)
def test_so_it_is_in_other_norms(norm, outputs, activation):
    (report,), right = evaluated(norm, outputs, activation)
    np.testing.assert_array_equal(report.robust, right)


def test_every_view_of_a_report_names_it(sigmoid):
    report, _ = sigmoid
    name = "AutoAttack, 2 classes, table"
    again = RobustnessReport.from_json(report.to_json())
    assert {row["ensemble"] for row in report.to_dict()["results"]} == {name}
    assert {row.ensemble for row in again.results} == {name}
    for text in (again.to_markdown(), again.to_csv(), again.to_latex()):
        assert text.count("AutoAttack") == text.count(name) > 0
    pytest.importorskip("jinja2")
    page = again.to_html()
    assert f"of {name}, run by" in page and f"{name}: APGD-T" in page
    assert "AutoAttack:" not in page and "AutoAttack, run" not in page


def test_cross_entropy_without_a_gradient_is_not_all():
    """Logits so large that it is 0 in float32: the margin is not."""
    model, x, y, away = linear(None, 2, "linf")
    w, b = model.get_weights()
    model.set_weights([1e4 * w, 1e4 * b])
    eps = float(np.sort(away)[9:11].mean())
    settings = {"eps": eps, "bounds": (-20, 20), "seed": 0, "steps": 20}
    left = [
        np.asarray(model(kind(**settings)(model, x, y))).argmax(-1) == y
        for kind in (APGD, APGDT)
    ]
    assert left[0].sum() > left[1].sum()
    np.testing.assert_array_equal(left[1], away > eps)

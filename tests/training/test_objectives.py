"""What adversarial training descends: TRADES, MART, and objectives of one's own."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from training.wrapped import WEAK, XE, assert_same_weights, fitted, flat, small

from keras_gce.attacks import PGD
from keras_gce.errors import InputError
from keras_gce.training import AWP, MART, TRADES, AdversarialModel, Objective
from keras_gce.training.objectives import Mixture

RANDOM = PGD(eps=0.1, steps=2, seed=0)
settings = dataclasses.dataclass(frozen=True, kw_only=True)


@pytest.mark.seam
@pytest.mark.parametrize("objective", [TRADES(beta=2.0), MART(beta=2.0)])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_trades_and_mart_against_numpy(images, objective, activation):
    x, y = (part[:16] for part in images)
    weights = np.linspace(0, 2, 16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    seen = []

    class Seen(AdversarialModel):
        def _perturb(self, images, y):
            seen.append(super()._perturb(images, y))
            return seen[-1]

    wrapped = Seen(small(activation), PGD(eps=0.1, steps=2), objective=objective)
    wrapped.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    logs = wrapped.train_on_batch(x, y, sample_weight=weights, return_dict=True)

    def log_softmax(z):
        z = z.astype("float64")
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    x_adv = to_numpy(seen[0])
    assert 0.09 < np.abs(x_adv - x).max() <= np.float32(0.1)
    both = np.concatenate([x, x_adv])
    log_p, log_q = np.split(log_softmax(to_numpy(small()(both, training=True))), 2)
    rows = np.arange(16)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    if isinstance(objective, TRADES):
        values = -log_p[rows, y] + 2 * divergence
    else:
        q = np.exp(log_q)
        q_wrong = np.where(np.eye(10, dtype=bool)[y], 0, q).max(-1)
        values = -log_q[rows, y] - np.log(1.0001 - q_wrong)
        values += 2 * divergence * (1 - np.exp(log_p[rows, y]))
    assert logs["loss"] == pytest.approx((weights * values).mean(), rel=1e-4)


@pytest.mark.seam
def test_trades_attacks_the_divergence(images):
    x, y = (part[:32] for part in images)
    model = small()
    attack = PGD(eps=0.1, steps=10, seed=0)
    wrapped = AdversarialModel(model, attack, objective=TRADES())
    wrapped.compile("sgd", XE)
    perturbed = to_numpy(wrapped._perturb(x, y))
    natural = ops.softmax(model(x))

    def divergence(x):
        values = keras.losses.kl_divergence(natural, ops.softmax(model(x)))
        return float(ops.mean(values))

    noise = np.clip(x + np.random.default_rng(0).choice([-0.1, 0.1], x.shape), 0, 1)
    assert divergence(perturbed) > 5 * divergence(noise)


# Objectives of one's own


@settings
class Pairing(Objective):
    """As the docstring of `Objective` has it."""

    weight: float = 0.5

    def loss(self, batch):
        apart = ops.square(batch.natural - batch.adversarial)
        paired = batch.mean(ops.mean(apart, axis=-1))
        return batch.compiled_loss(batch.adversarial) + self.weight * paired


@settings
class Half(Objective):
    """`natural_weight=0.5`."""

    def loss(self, batch):
        natural = batch.compiled_loss(batch.natural)
        return (natural + batch.compiled_loss(batch.adversarial)) / 2


def from_f(f, logits):
    return ops.sum(f * (ops.log(f) - ops.log_softmax(logits)), axis=-1)


@keras.saving.register_keras_serializable(package="test_objectives")
@settings
class OwnTrades(Objective):
    """TRADES by what anybody may use, with an attack and labels of its own."""

    beta: float

    def prepare(self, attack):
        return attack.with_loss(from_f)

    def labels(self, classifier, x, y):
        return ops.softmax(classifier.logits(x))

    def loss(self, batch):
        log_p, log_q = (
            batch.log_probabilities(output)
            for output in (batch.natural, batch.adversarial)
        )
        divergence = batch.mean(ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1))
        return batch.compiled_loss(batch.natural) + self.beta * divergence


@pytest.mark.seam
@pytest.mark.parametrize(
    "own,given",
    [
        ({"objective": Half()}, {"natural_weight": 0.5}),
        ({"objective": OwnTrades(beta=3.0)}, {"objective": TRADES(beta=3.0)}),
        ({"objective": Pairing(weight=0.0)}, {"objective": Mixture(natural_weight=0)}),
    ],
    ids=["half", "trades", "pairing"],
)
def test_an_own_objective_trains_as_the_given_one(images, own, given):
    one, other = (
        fitted(lambda m, case=case: AdversarialModel(m, RANDOM, **case), images)[0]
        for case in (own, given)
    )
    assert_same_weights(one.model, other.model, atol=1e-5)


@pytest.mark.seam
def test_an_own_objective_learns(images):
    _, history = fitted(
        lambda m: AdversarialModel(m, WEAK, objective=Pairing()), images, epochs=4
    )
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("wrapped_in", [lambda loss: loss, lambda loss: {"c": loss}])
def test_the_mean_is_that_of_the_compiled_loss(images, reduction, wrapped_in):
    x, y = (part[:16] for part in images)
    weights = np.linspace(0, 2, 16)

    @settings
    class Index(Objective):
        def loss(self, batch):
            nothing = 0 * batch.log_probabilities(batch.natural)[:, 0]
            return batch.mean(ops.cast(batch.classes, "float32") + nothing)

    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction)
    name = "c" if isinstance(wrapped_in(loss), dict) else None
    wrapped = AdversarialModel(flat(name=name), WEAK, objective=Index())
    wrapped.compile("sgd", wrapped_in(loss), run_eagerly=True)
    logs = wrapped.train_on_batch(
        x, y if name is None else {name: y}, weights, return_dict=True
    )
    total = float((weights * y).sum())
    assert logs["loss"] == pytest.approx(total if reduction == "sum" else total / 16)


@pytest.mark.seam
@pytest.mark.parametrize("times,perturbation", [(0, None), (1, None), (2, AWP(1e-7))])
def test_what_layers_add_counts_once(images, times, perturbation):
    x, y = (part[:16] for part in images)

    @settings
    class Times(Objective):
        def loss(self, batch):
            total = batch.mean(ops.zeros_like(batch.natural[:, 0]))
            for _ in range(times):
                total += batch.compiled_loss(batch.natural)
            return total

    penalty = keras.regularizers.L2(0.1)
    active = keras.layers.ActivityRegularization(l2=1e-3)
    conv = keras.layers.Conv2D(1, 1, kernel_regularizer=penalty)
    model = flat(inside=[active, conv])
    loss, (kernel, _) = float(XE(y, model(x))), conv.get_weights()
    wrapped = AdversarialModel(
        model,
        PGD(eps=0.0, steps=1),
        objective=Times(),
        weight_perturbation=perturbation,
    )
    wrapped.compile(keras.optimizers.SGD(0.0), XE)
    logs = wrapped.train_on_batch(x, y, return_dict=True)
    added = 0.1 * (kernel**2).sum() + 1e-3 * (x**2).sum() / 16
    assert logs["loss"] == pytest.approx(times * loss + added, rel=1e-4)


class Duck:
    """Has all the methods of an objective, and is none."""

    prepare, labels, loss = Half.prepare, Half.labels, Half.loss


@settings
class Forgetful(Objective):
    def prepare(self, attack):
        attack.with_loss("margin")


@settings
class Each(Objective):
    def loss(self, batch):
        return batch.compiled_loss(batch.adversarial) + batch.natural[:, 0]


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: "trades", "`objective`.*an Objective of your own.*'trades'"),
        (lambda: TRADES, "`objective`.*Received: objective=<class"),
        (lambda: lambda batch: 0.0, "`objective`.*Received: objective=<function"),
        (lambda: Duck(), "`objective`.*Received: objective=<.*Duck"),
        (lambda: TRADES(), "random_start"),
        (lambda: TRADES(beta=-1.0), "`beta`"),
        (lambda: MART(beta=float("inf")), "`beta`"),
        (lambda: Forgetful(), r"must prepare .* objective=Forgetful\(\) with None"),
    ],
    ids=range(8),
)
def test_what_is_no_objective_is_refused_at_the_door(make, message):
    with pytest.raises(InputError, match=message) as error:
        AdversarialModel(flat(), WEAK, objective=make())
    assert "\n" not in str(error.value)


@pytest.mark.seam
@pytest.mark.parametrize(
    "objective,loss,message",
    [
        (Each(), XE, r"must have a loss that is a scalar.*Each\(\).*shape \("),
        (Half(), None, r"`loss` must be given to `compile`.*Half\(\)"),
    ],
    ids=["each", "none"],
)
def test_what_a_train_step_finds_out(images, objective, loss, message):
    wrapped = AdversarialModel(flat(), WEAK, objective=objective)
    wrapped.compile("sgd", loss)
    with pytest.raises(InputError, match=message):
        wrapped.fit(*images, verbose=0)


@pytest.mark.parametrize(
    "objective", [None, TRADES(beta=3.0), MART(), OwnTrades(beta=2.0)]
)
def test_the_wrapper_is_written_down_with_its_objective(objective):
    wrapper = AdversarialModel(flat(), RANDOM, 0.0, 7, objective)
    copy = AdversarialModel.from_config(wrapper.get_config())
    assert (copy.attack, copy.warmup_steps) == (RANDOM, 7)
    assert copy.objective == objective
    text = json.dumps(keras.saving.serialize_keras_object(wrapper))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is AdversarialModel and again.objective == objective


def test_configurations_of_before_the_base_class_load():
    # What keras_gce 0.1.0 wrote for TRADES(beta=3.0).
    config = AdversarialModel(flat(), RANDOM).get_config()
    config["objective"] = {
        "module": "keras_gce.training.objectives",
        "class_name": "TRADES",
        "config": {"beta": 3.0},
        "registered_name": "keras_gce>TRADES",
    }
    assert AdversarialModel.from_config(config).objective == TRADES(beta=3.0)


def test_an_objective_is_its_settings():
    assert OwnTrades(beta=2) == OwnTrades(beta=2) != OwnTrades(beta=3)
    assert repr(Pairing()) == "Pairing(weight=0.5)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Pairing().weight = 1
    with pytest.raises(TypeError):
        Pairing(1.0)

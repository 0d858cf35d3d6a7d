"""AWP, TRADES and MART beside their authors' equations, and what a step leaves behind.

The references are written in PyTorch from the equations of the papers and of the
authors' code: github.com/csdongxian/AWP, yaodongyu/TRADES and YisenWang/MART.
"""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled
from training.wrapped import WEAK, XE

from keras_gce.attacks import PGD
from keras_gce.errors import InputError
from keras_gce.training import AWP, MART, TRADES, AdversarialModel

SGD = keras.optimizers.SGD
OBJECTIVES = [None, TRADES(beta=6.0), MART(beta=6.0)]
IDS = ["pgd", "trades", "mart"]


@pytest.fixture(scope="module")
def batch():
    """Images of which some pixels are at the bounds, and classes half of them wrong."""
    x, y = labelled(balanced(), count=8)
    return np.clip(1.4 * x - 0.2, 0, 1).astype("float32"), np.where(y > 1, y, 1 - y)


def stepped(batch, attack=WEAK, build=balanced, rate=1.0, optimizer=None, **settings):
    """A step of SGD: the loss, how weights moved (rate 1: gradients), the model."""
    model = build()
    wrapped = AdversarialModel(model, attack, **settings)
    wrapped.compile(optimizer or SGD(rate), XE)
    before = [w.copy() for w in trained(model)]
    logs = wrapped.train_on_batch(*batch, return_dict=True)
    pairs = zip(before, trained(model), strict=True)
    return logs["loss"], [b - a for b, a in pairs], model


def trained(model):
    return [to_numpy(variable.value) for variable in model.trainable_variables]


class Authors:
    """The authors' equations for the network of `balanced`, in PyTorch."""

    def __init__(self, batch, objective):
        self.torch = pytest.importorskip("torch")
        self.x, self.y = self.torch.tensor(batch[0]), self.torch.tensor(batch[1]).long()
        self.objective = objective
        self.weights = [
            self.torch.tensor(w, requires_grad=True) for w in trained(balanced())
        ]

    def logits(self, x, weights):
        kernel, bias, last, offset = weights
        return self.torch.relu(x.flatten(1) @ kernel + bias) @ last + offset

    def divergence(self, z_adv, z):
        functional = self.torch.nn.functional
        q, p = functional.log_softmax(z_adv, 1), functional.softmax(z, 1)
        return functional.kl_div(q, p, reduction="none").sum(1)

    def attacked(self, start, eps, step_size, steps):
        torch, x = self.torch, self.x
        x_adv = torch.tensor(start)
        for _ in range(steps):
            x_adv = x_adv.detach().requires_grad_()
            z_adv, z = (self.logits(one, self.weights) for one in (x_adv, x))
            if isinstance(self.objective, TRADES):
                value = self.divergence(z_adv, z.detach()).sum()
            else:
                value = torch.nn.functional.cross_entropy(z_adv, self.y)
            (gradient,) = torch.autograd.grad(value, x_adv)
            x_adv = x_adv.detach() + step_size * gradient.sign()
            x_adv = torch.clamp(torch.clamp(x_adv, x - eps, x + eps), 0, 1)
        return x_adv

    def loss(self, x_adv, weights):
        torch, y, cross_entropy = self.torch, self.y, self.torch.nn.functional
        cross_entropy = cross_entropy.cross_entropy
        z, z_adv = self.logits(self.x, weights), self.logits(x_adv, weights)
        if self.objective is None:
            return cross_entropy(z_adv, y)
        divergence = self.divergence(z_adv, z)
        if isinstance(self.objective, TRADES):
            return cross_entropy(z, y) + 6 * divergence.mean()
        p, q = torch.softmax(z, 1), torch.softmax(z_adv, 1)
        rows = torch.arange(len(y))
        wrong = q.clone()
        wrong[rows, y] = -1
        margin = -torch.log(1.0001 - wrong.max(1).values + 1e-12).mean()
        weighed = divergence * (1.0000001 - p[rows, y])
        return cross_entropy(z_adv, y) + margin + 6 * weighed.mean()

    def step(self, x_adv, gamma=0.0):
        """The loss and the gradients at the weights moved by AWP's perturbation."""
        torch = self.torch
        value = self.loss(x_adv, self.weights)
        moved = [
            (w + gamma * w.norm() * g / g.norm() if w.ndim > 1 else w).detach()
            for w, g in zip(
                self.weights, torch.autograd.grad(value, self.weights), strict=True
            )
        ]
        moved = [w.requires_grad_() for w in moved]
        value = self.loss(x_adv, moved)
        gradients = torch.autograd.grad(value, moved)
        return float(value.detach()), [g.numpy() for g in gradients]


def assert_same_step(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.seam
@pytest.mark.parametrize("objective", OBJECTIVES[1:], ids=IDS[1:])
def test_trades_and_mart_from_normal_noise_are_the_authors(batch, objective):
    attack = PGD(eps=0.1, step_size=0.02, steps=8, random_start="normal", seed=3)
    settings = {**attack.settings(0), "seed": ops.convert_to_tensor([3, 0], "int32")}
    # No step: where it starts.
    x, y = (ops.convert_to_tensor(part) for part in batch)
    start = attack.perturb(balanced(), x, y, **{**settings, "steps": np.int32(0)})
    start = to_numpy(start)
    assert (start < 0).any() and (start > 1).any()
    assert np.std(start - batch[0]) == pytest.approx(0.001, rel=0.1)
    authors = Authors(batch, objective)
    x_adv = authors.attacked(start, 0.1, 0.02, 8)
    found = stepped(batch, attack, objective=objective)
    assert_same_step(found, authors.step(x_adv))


@pytest.mark.seam
@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
def test_awp_is_the_authors(batch, objective):
    attack = PGD(eps=0.1, steps=3, seed=0)
    settings = {"objective": objective, "weight_perturbation": AWP(0.01)}
    wrapped = AdversarialModel(balanced(), attack, **settings)
    wrapped.compile(SGD(1.0), XE)
    authors = Authors(batch, objective)
    x_adv = authors.torch.tensor(to_numpy(wrapped._perturb(*batch)))
    found = stepped(batch, attack, **settings)
    assert_same_step(found, authors.step(x_adv, 0.01))
    # And not those at the weights as they are.
    plain = authors.step(x_adv)
    assert found[0] > plain[0] + 1e-3
    assert np.abs(found[1][0] - plain[1][0]).max() > 1e-3


def noisy():
    """With statistics of batches and random numbers, both of which are states."""
    keras.utils.set_random_seed(1)
    normalization = layers.BatchNormalization()
    first = [layers.Conv2D(8, 3, 1, "same"), normalization, layers.Dropout(0.5, seed=1)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *first, layers.Flatten()])
    model.add(layers.Dense(4))
    return model


@pytest.mark.seam
@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=IDS[:2])
def test_a_step_leaves_what_one_pass_leaves_and_the_weights(batch, objective):
    states = []
    for perturbation in (None, AWP(1e-7)):
        loss, moved, model = stepped(
            batch,
            PGD(eps=0.1, steps=1, seed=0),
            noisy,
            rate=0.0,
            objective=objective,
            weight_perturbation=perturbation,
        )
        assert not any(np.any(each) for each in moved)
        states.append([to_numpy(v.value) for v in model.non_trainable_variables])
        states[-1].append(loss)
    # Statistics, the state of the random generator; and which units were dropped.
    for one, other in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.seam
def test_two_gradients_accumulate_each_at_its_perturbed_weights(batch):
    halves = [tuple(part[i : i + 4] for part in batch) for i in (0, 4)]
    settings = {"weight_perturbation": AWP(0.01)}
    alone = [stepped(half, **settings)[1] for half in halves]
    model = balanced()
    wrapped = AdversarialModel(model, WEAK, **settings)
    wrapped.compile(SGD(1.0, gradient_accumulation_steps=2), XE)
    before = [w.copy() for w in trained(model)]
    wrapped.fit(*batch, batch_size=4, shuffle=False, verbose=0)
    for old, new, *both in zip(before, trained(model), *alone, strict=True):
        np.testing.assert_allclose(old - new, np.mean(both, 0), rtol=1e-4, atol=1e-6)


@pytest.fixture
def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def ending_in_float32():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3)])
    for layer in (layers.BatchNormalization(), layers.Flatten()):
        model.add(layer)
    model.add(layers.Dense(4, dtype="float32"))
    return model


@pytest.mark.seam
def test_in_mixed_precision_layers_see_weights_that_were_not_rounded(batch, mixed):
    settings = {"build": ending_in_float32, "rate": 1e-3}
    plain, little, some = (
        stepped(batch, weight_perturbation=perturbation, **settings)
        for perturbation in (None, AWP(1e-7), AWP(0.01))
    )
    # Of a kernel in float16 it would be off by some 1e-4.
    assert little[0] == pytest.approx(plain[0], rel=2e-6)
    for one, other in zip(plain[1], little[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-6)
    assert some[0] > plain[0] + 1e-3


@pytest.mark.seam
def test_a_scaled_gradient_out_of_float16_skips_the_step_and_spoils_nothing(
    batch, mixed
):
    # Keras starts at 2**15.
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(1.0), initial_scale=2.0**40)
    _, moved, model = stepped(
        batch,
        build=ending_in_float32,
        optimizer=optimizer,
        weight_perturbation=AWP(0.01),
    )
    assert not any(np.any(each) for each in moved)
    assert float(ops.convert_to_numpy(optimizer.dynamic_scale)) == 2.0**39
    for variable in model.non_trainable_variables:
        assert np.isfinite(to_numpy(variable.value)).all(), variable.path


@pytest.mark.seam
def test_a_model_without_a_weight_to_perturb_is_refused(batch):
    def frozen():
        model = balanced()
        model.trainable = False
        return model

    with pytest.raises(InputError, match="`model` must have trainable weights"):
        stepped(batch, build=frozen, weight_perturbation=AWP(0.01))


def test_what_is_saved_needs_no_package(tmp_path):
    wrapped = AdversarialModel(balanced(), WEAK, weight_perturbation=AWP(0.01))
    wrapped.compile("sgd", XE)
    wrapped.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert "keras_gce" not in file.read("config.json").decode()


def test_the_wrapper_is_written_down_with_it():
    wrapped = AdversarialModel(
        balanced(), PGD(eps=0.1, random_start="normal"), weight_perturbation=AWP(0.01)
    )
    text = json.dumps(keras.saving.serialize_keras_object(wrapped))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.weight_perturbation == AWP(gamma=0.01)
    assert again.attack == wrapped.attack
    # Of before there was any.
    config = wrapped.get_config()
    del config["weight_perturbation"]
    assert AdversarialModel.from_config(config).weight_perturbation is None


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: AWP(0.0), "`gamma` must be > 0. Received: gamma=0.0"),
        (lambda: AWP(-1), "`gamma`.*Received: gamma=-1"),
        (lambda: AWP(float("nan")), "`gamma`.*Received: gamma=nan"),
        (lambda: AWP(True), "`gamma`.*Received: gamma=True"),
        (lambda: AWP("0.1"), "`gamma`.*Received: gamma='0.1'"),
        (
            lambda: AdversarialModel(balanced(), WEAK, weight_perturbation=0.01),
            r"`weight_perturbation` must be AWP\(gamma\).*Received: .*=0.01",
        ),
        (lambda: PGD(eps=0.1, random_start="gauss"), "`random_start`.*'gauss'"),
    ],
    ids=range(7),
)
def test_wrong_input(make, message):
    with pytest.raises(InputError, match=message):
        make()

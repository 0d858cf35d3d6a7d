"""A stretch of train steps as one program: what `fit` does, step by step."""

import keras
import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import BIM
from keras_gce.recipes import epochs
from keras_gce.training import AWP, AdversarialModel, ComplementObjectiveModel

pytestmark = pytest.mark.integration

XE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
TRAINERS = {
    "plain": lambda model: model,
    "adversarial": lambda model: AdversarialModel(
        model, BIM(eps=0.1, steps=2), warmup_steps=3
    ),
    "perturbed": lambda model: AdversarialModel(
        model, BIM(eps=0.1, steps=2), 0.5, weight_perturbation=AWP(0.01)
    ),
    "complement": ComplementObjectiveModel,
}


def rows(data, columns):
    return tuple(keras.ops.take(each, columns[0], axis=0) for each in data)


def compiled(name, policy=None):
    model = balanced()
    trainer = TRAINERS[name](model)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    if policy == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(optimizer, XE, metrics=["accuracy"])
    return model, trainer


def trained(name, x, y, stretches, policy=None):
    """Weights and metrics after stretches of batches of 4, and a batch of 3."""
    model, trainer = compiled(name, policy)
    epochs.build(trainer, x[:1], y[:1])
    run = backend.training_loop(trainer, rows, (x, y))
    whole = (np.arange(12, dtype="int32").reshape(3, 4),)
    for start, stop in stretches:
        run(whole, start, stop)
    run((np.arange(12, 15, dtype="int32")[None],), 0, 1)
    logs = {k: float(v) for k, v in trainer.get_metrics_result().items()}
    return model.get_weights(), logs, int(trainer.optimizer.iterations)


def same(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert one[1] == pytest.approx(other[1], abs=1e-4) and one[2] == other[2]


@pytest.fixture(scope="module")
def data():
    return labelled(balanced(), count=15)


@pytest.mark.seam
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
@pytest.mark.parametrize("name", TRAINERS)
def test_a_stretch_is_its_steps(name, data):
    x, y = data
    found = trained(name, x, y, [(0, 2), (2, 3)])
    model, trainer = compiled(name)
    history = trainer.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    logs = {k: values[-1] for k, values in history.items()}
    same(found, (model.get_weights(), logs, int(trainer.optimizer.iterations)))


def test_a_scaled_loss(data):
    x, y = data
    one = trained("plain", x, y, [(0, 3)], "scaled")
    same(one, trained("plain", x, y, [(0, 1), (1, 3)], "scaled"))
    assert one[2] == 4


def test_an_empty_stretch_trains_nothing(data):
    x, y = data
    same(trained("plain", x, y, [(0, 3), (3, 3)]), trained("plain", x, y, [(0, 3)]))


@pytest.mark.seam
def test_on_an_accelerator_jax_loops(data, monkeypatch):
    """There a stretch is one program; on a CPU each of its steps is."""
    if keras.backend.backend() != "jax":
        pytest.skip("about JAX")
    import jax

    x, y = data
    expected = trained("complement", x, y, [(0, 2), (2, 3)])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    same(trained("complement", x, y, [(0, 2), (2, 3)]), expected)

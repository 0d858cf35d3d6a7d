"""The seam to TensorFlow: where its functions run, and how they are compiled."""

import dataclasses

import keras
import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce import backend, models
from keras_gce.attacks import BIM, FGSM, MIM, PGD
from keras_gce.classifier import Classifier
from keras_gce.recipes import epochs
from keras_gce.training import AdversarialModel, ComplementObjectiveModel

XE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_the_device_decides_on_xla(tf):
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    for choice, with_xla in (("auto", has_gpu), (True, True), (False, False)):
        model = balanced()
        x, y = labelled(model)
        FGSM(eps=0.1, jit_compile=choice)(model, x, y)
        assert attributes(model) == [with_xla]


def test_a_gpu_gives_what_the_cpu_gives(tf, xe_model, digits):
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    x, y = digits.test.take(40).arrays()
    for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1)):
        found = attack(xe_model, x, y)
        assert "GPU" in found.device
        with tf.device("CPU:0"):
            model = keras.models.clone_model(xe_model)
            model.set_weights(xe_model.get_weights())
            ours = attack.with_loss("crossentropy")(model, x, y)
        same = np.isclose(found, ours, rtol=0, atol=1e-5)
        assert same.mean() > 0.995, attack.name


def test_the_switch_for_a_debugger(tf):
    seen = []

    def loss(y, logits):
        seen.append(tf.executing_eagerly())
        return keras.ops.sparse_categorical_crossentropy(y, logits, from_logits=True)

    model = balanced()
    x, y = labelled(model)
    attack = PGD(eps=0.1, steps=3, seed=0, loss=loss)
    tf.config.run_functions_eagerly(True)
    try:
        step_by_step = attack(model, x, y)
    finally:
        tf.config.run_functions_eagerly(False)
    assert seen == [True] * 3
    np.testing.assert_allclose(step_by_step, attack(model, x, y), atol=1e-6)


@pytest.mark.parametrize("stop_early", [False, True])
def test_gradients_are_apart_from_the_loop(tf, stop_early):
    # In the loop's own graph chance would decide on the kernels: where oneDNN's pass
    # comes to a pooling's gradient before the pooling, that keeps the slow one.
    model = models.LeNet5()
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 28, 28, 1), "float32"), np.array([0, 1], "int32")
    PGD(eps=0.1, steps=2).run(Classifier(model), x, y, 0, stop_early)
    (function,) = backend.tensorflow.compiled_for(model).values()
    graph = function.graph.as_graph_def()
    assert not any(node.op == "MaxPoolGrad" for node in graph.node)
    with_pooling = [
        inner
        for inner in graph.library.function
        if any(node.op == "MaxPoolGrad" for node in inner.node_def)
    ]
    assert with_pooling
    assert all(inner.attr["_noinline"].b for inner in with_pooling)


@pytest.fixture
def claims_gpu(tf, monkeypatch):
    """TensorFlow's list of devices holds a GPU; the work stays on the CPU."""
    listed = tf.config.list_physical_devices
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind=None: [gpu] if kind == "GPU" else listed(kind),
    )


def attributes(model):
    functions = backend.tensorflow.compiled_for(model)
    return [f.function_def.attr["_XlaMustCompile"].b for f in functions.values()]


def test_where_there_is_a_gpu_attacks_take_xla(claims_gpu):
    model = balanced()
    x, y = labelled(model)
    BIM(eps=0.1, steps=2)(model, x, y)
    assert attributes(model) == [True]
    # Decided examples leave in `evaluate`: there the sizes change from step to step.
    BIM(eps=0.1, steps=2).run(Classifier(model), x, y, stop_early=True)
    assert sorted(attributes(model)) == [False, True]


GRADIENT = [
    MIM(eps=0.1, steps=3),
    PGD(eps=0.5, steps=3, random_start=False, norm="l2"),
    PGD(eps=0.1, steps=3, seed=0),
]


@pytest.mark.parametrize("attack", GRADIENT, ids=repr)
def test_xla_gives_what_a_graph_gives(tf, attack):
    model = balanced()
    x, y = labelled(model, count=13)
    with_xla = dataclasses.replace(attack, jit_compile=True)
    without = dataclasses.replace(attack, jit_compile=False)
    for n in (13, 5, 12):
        found = np.asarray(with_xla(model, x[:n], y[:n]))
        assert found.shape == x[:n].shape
        assert np.abs(found - x[:n]).max() <= np.float32(attack.eps)
        if not getattr(attack, "random_start", False):  # Drawn for a filled batch.
            expected = without(model, x[:n], y[:n])
            assert np.isclose(found, expected, atol=1e-5).mean() > 0.995
    assert sorted(attributes(model)) == (
        [True] if getattr(attack, "random_start", False) else [False, True]
    )


def test_xla_meets_few_sizes(tf, monkeypatch):
    model = balanced()
    x, y = labelled(model, count=9)
    attack = FGSM(eps=0.1, jit_compile=True)
    attack(model, x, y)
    functions = backend.tensorflow.compiled_for(model)
    ((key, function),) = functions.items()
    seen = []

    def counted(batch, settings):
        seen.append(len(batch[0]))
        return function(batch, settings)

    functions[key] = counted
    for n in (3, 4, 6, 7, 8):
        attack(model, x[:n], y[:n])
    assert set(seen) == {4, 8}


TRAINERS = {
    "mixture": lambda model: AdversarialModel(
        model, BIM(eps=0.1, steps=2), natural_weight=0.5, warmup_steps=2
    ),
    "complement": ComplementObjectiveModel,
}


@pytest.mark.integration
@pytest.mark.parametrize("name", TRAINERS)
def test_train_steps_under_xla(tf, name):
    """In `fit`, and as a stretch of steps; the last batch is a smaller one."""
    x, y = labelled(balanced(), count=12)
    found = {}
    for choice in (False, True):
        model = balanced()
        trainer = TRAINERS[name](model)
        trainer.compile(keras.optimizers.SGD(0.05), XE, jit_compile=choice)
        trainer.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        found[choice] = model.get_weights()
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


@pytest.mark.integration
def test_where_there_is_a_gpu_stretches_take_xla(tf, request):
    x, y = labelled(balanced(), count=16)
    columns = (np.arange(16, dtype="int32").reshape(4, 4),)

    def batch(data, rows):
        return tuple(keras.ops.take(each, rows[0], axis=0) for each in data)

    found = []
    for fixture in (None, "claims_gpu"):
        if fixture:
            request.getfixturevalue(fixture)
        model = balanced()
        trainer = AdversarialModel(model, BIM(eps=0.1, steps=2))
        trainer.compile(keras.optimizers.SGD(0.05), XE, metrics=["accuracy"])
        epochs.build(trainer, x[:1], y[:1])
        run = backend.training_loop(trainer, batch, (x, y))
        run(columns, 0, 3)
        run(columns, 3, 4)
        found.append((model.get_weights(), trainer.get_metrics_result()))
    (one, logs), (other, same) = found
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    assert float(logs["accuracy"]) == float(same["accuracy"])

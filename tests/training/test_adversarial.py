"""Adversarial training: Keras's own training on perturbed batches."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from training.wrapped import WEAK, XE, assert_same_weights, fitted, flat, small

from keras_gce.attacks import BIM, FGSM, JSMA, PGD
from keras_gce.errors import InputError
from keras_gce.training import MART, TRADES, AdversarialModel


@pytest.mark.seam
def test_the_step_is_that_of_the_perturbed_batch(images):
    x, y = (part[:16] for part in images)
    wrapped, _ = fitted(lambda m: AdversarialModel(m, WEAK), (x, y), 1, build=small)
    model = small()
    model.compile(keras.optimizers.SGD(0.05), XE)
    model.train_on_batch(to_numpy(WEAK(model, x, y)), y)
    assert_same_weights(model, wrapped.model)


@pytest.mark.seam
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_natural_weight(images, reduction, weighted):
    x, y = (part[:16] for part in images)
    weights = np.linspace(0, 2, 16).astype("float32") if weighted else None
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction)
    model = small()
    x_adv = to_numpy(WEAK(model, x, y))

    # Both parts go through the model in one pass, as batch normalisation sees.
    both = to_numpy(small()(np.concatenate([x, x_adv]), training=True))
    natural, adversarial = (
        float(loss(y, z, sample_weight=weights)) for z in np.split(both, 2)
    )
    wrapped = AdversarialModel(model, WEAK, natural_weight=0.25)
    wrapped.compile(keras.optimizers.SGD(0.0), loss)
    expected = 0.25 * natural + 0.75 * adversarial
    logs = wrapped.train_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


# Needs a process of its own: neither setting can be taken back.
ISOLATED = """
import sys
import warnings
import keras, numpy as np, tensorflow as tf
from keras_gce import backend
from keras_gce.attacks import BIM, PGD
from keras_gce.callbacks import CatastrophicOverfitting, RobustAccuracy
from keras_gce.recipes import epochs
from keras_gce.training import AWP, AdversarialModel, ComplementObjectiveModel

tf.config.experimental.enable_op_determinism()
cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
x = np.random.default_rng(0).random((24, 8, 8, 1), "float32")
y = np.arange(24) % 10

def weights(wrap, scope=None, loop=False):
    with scope or tf.device("CPU:0"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(), keras.layers.Dense(10)])
        wrapped = wrap(model)
        wrapped.compile(keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"])
    # Even shares: Keras weighs replicas alike, whatever their share of a batch.
    if not loop:
        logs = wrapped.fit(
            x, y, batch_size=12, epochs=2, shuffle=False, verbose=0).history
        return model.get_weights(), logs
    with strategy.scope():
        epochs.build(wrapped, x[:1], y[:1])
        run = backend.training_loop(wrapped, lambda data, rows: [
            tf.gather(each, rows[0]) for each in data], (x, y))
        columns = [np.arange(len(x), dtype="int32").reshape(-1, 12)]
        for epoch in range(2):
            wrapped.reset_metrics()
            run(columns, 0, len(columns[0]))
        loss = float(wrapped.get_metrics_result()["loss"])
    return model.get_weights(), {"loss": [loss]}

def difference(a, b):
    pairs = zip(a[0] + [a[1]["loss"][-1]], b[0] + [b[1]["loss"][-1]])
    return max(float(np.abs(np.subtract(p, q)).max()) for p, q in pairs)

plain = weights(lambda model: model)
zero = weights(lambda model: AdversarialModel(model, PGD(eps=0.0, steps=2)))
def mixed(model, perturbation=None):
    return AdversarialModel(model, BIM(eps=0.1, steps=2), natural_weight=0.5,
        weight_perturbation=perturbation)
def awp(model):
    return mixed(model, AWP(0.05))
one = weights(mixed)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two = weights(mixed, strategy.scope())
# And by stretches of steps, of which each device takes its share.
loop = weights(mixed, strategy.scope(), loop=True)
moved = weights(awp)
cot = weights(ComplementObjectiveModel)
shared = weights(ComplementObjectiveModel, strategy.scope())
# Averages, swapped in for the validation, and given back where training fails.
failed = []
with strategy.scope():
    model = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    watched = AdversarialModel(model, BIM(eps=0.1, steps=2))
    watched.compile(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"])
watch = CatastrophicOverfitting((x, y), eps=0.1)
watch._failed = lambda best, now: len(failed) == 3 or failed.append(1)
with warnings.catch_warnings(action="ignore"):
    logs = watched.fit(x, y, epochs=9, verbose=0, validation_data=(x, y), callbacks=[
        watch, RobustAccuracy((x, y), PGD(eps=0.1, steps=10, seed=0)),
        keras.callbacks.SwapEMAWeights()]).history
assert logs["val_robust_accuracy"] == logs["val_pgd_accuracy"] and len(failed) == 3
assert model.evaluate(x, y, verbose=0)[1] == logs["val_accuracy"][watch.best_epoch]
for weight, average in zip(
        model.weights, watched.optimizer._model_variables_moving_average):
    for copy in weight.value.values + average.value.values:
        np.testing.assert_array_equal(copy, weight.value.values[0])
print(difference(plain, zero), difference(one, two), difference(one, loop),
      difference(moved, weights(awp, strategy.scope())),
      difference(cot, shared), difference(plain, one), difference(plain, cot),
      difference(one, moved), strategy.num_replicas_in_sync)
"""


@pytest.mark.integration
def test_eps_0_is_the_plain_model_and_two_devices_are_one(tf):
    process = subprocess.run(
        [sys.executable, "-c", ISOLATED], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    *found, replicas = process.stdout.split()[-9:]
    zero, *same, attacked, twice, moved = (float(value) for value in found)
    assert zero == 0 and replicas == "2"
    # On two devices: by `fit`, by stretches, with AWP; and COT.
    assert len(same) == 4 and max(same) < 1e-5
    assert min(attacked, twice, moved) > 1e-3


def test_warmup_grows_eps_without_a_retrace(tf, images):
    x, y = (part[:16] for part in images)
    wrapped = AdversarialModel(flat(), WEAK, warmup_steps=4)
    wrapped.compile(keras.optimizers.SGD(0.0), XE)
    traces = []

    def eps():
        traces.append(1)
        return keras.ops.max(keras.ops.abs(wrapped._perturb(x, y) - x))

    measure = tf.function(eps)
    grown = []
    for _ in range(6):
        grown.append(float(measure()))
        wrapped.train_on_batch(x, y)
    np.testing.assert_allclose(grown, [0, 0.025, 0.05, 0.075, 0.1, 0.1], atol=1e-6)
    assert len(traces) == 1


@pytest.mark.seam
def test_the_random_start_differs_from_step_to_step(images):
    x, y = (part[:16] for part in images)
    wrapped = AdversarialModel(flat(), PGD(eps=0.1, steps=1, seed=3))
    wrapped.compile(keras.optimizers.SGD(0.0), XE)
    first, again = (to_numpy(wrapped._perturb(x, y)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    wrapped.train_on_batch(x, y)
    assert (to_numpy(wrapped._perturb(x, y)) != first).any()


@pytest.mark.seam
def test_the_random_start_differs_from_process_to_process(images):
    """Under PyTorch each replica is a process; elsewhere one program has them all."""
    if keras.backend.backend() != "torch":
        pytest.skip("about PyTorch")
    from torch import distributed

    x, y = (part[:16] for part in images)
    wrapped = AdversarialModel(flat(), PGD(eps=0.1, steps=1, seed=3))
    wrapped.compile(keras.optimizers.SGD(0.0), XE)
    alone = to_numpy(wrapped._perturb(x, y))
    # A group of two that sends nothing.
    distributed.init_process_group("fake", rank=1, world_size=2)
    try:
        second = to_numpy(wrapped._perturb(x, y))
    finally:
        distributed.destroy_process_group()
    assert (second != alone).any()


@pytest.fixture(scope="module")
def expected(images):
    """What plain arrays give, for every other form of data."""
    return fitted(lambda m: AdversarialModel(m, WEAK), images)[0].model


@pytest.mark.parametrize(
    "form",
    [
        "tf.data",
        "steps_per_execution",
        "column",
        "one-hot",
        "jit_compile",
        "no jit_compile",
        "sample_weight",
        "class_weight",
        "dict",
    ],
)
def test_every_form_of_data(tf, images, expected, form):
    x, y = images
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    one_hot = np.eye(10, dtype="float32")[y]
    data, compile, fit, build = images, {}, {}, flat
    if form == "tf.data":
        data, fit = [dataset], {"batch_size": None}
    elif form == "steps_per_execution":
        data, fit, compile = [dataset], {"batch_size": None}, {form: 3}
    elif form == "column":
        data = x, y[:, None]
    elif form == "one-hot":
        data = x, one_hot
        compile = {"loss": keras.losses.CategoricalCrossentropy(True)}
    elif form.endswith("jit_compile"):
        compile = {"jit_compile": form == "jit_compile"}
    elif form == "sample_weight":
        fit = {form: np.ones(64)}
    elif form == "class_weight":
        fit = {form: dict.fromkeys(range(10), 1.0)}
    else:
        data = {"image": x}, y

        def build():
            return flat(key="image")

    wrapped, _ = fitted(
        lambda m: AdversarialModel(m, WEAK), data, compile=compile, build=build, **fit
    )
    assert_same_weights(expected, wrapped.model)


@pytest.mark.seam
def test_class_weights_count(images, expected):
    x, y = images
    weights = {k: float(k == 3) for k in range(10)}
    wrapped, _ = fitted(
        lambda m: AdversarialModel(m, WEAK), images, class_weight=weights
    )
    different = [
        np.abs(a - b).max()
        for a, b in zip(wrapped.get_weights(), expected.get_weights(), strict=True)
    ]
    assert (y == 3).any() and max(different) > 1e-3


@pytest.mark.seam
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_sees_the_attack_only_on_request(images, training):
    x, y = (part[:16] for part in images)
    means = []
    for attack in (FGSM(eps=0.0), BIM(eps=0.0, steps=9)):
        wrapped = AdversarialModel(small(), attack, attack_training=training)
        wrapped.compile(keras.optimizers.SGD(0.0), XE)
        wrapped.train_on_batch(x, y)
        means.append(to_numpy(wrapped.model.layers[2].moving_mean))
    # JAX's steps change no statistics: they are in a compiled loop.
    seen = training and keras.backend.backend() != "jax"
    assert np.allclose(*means, atol=1e-7) != seen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: AdversarialModel(m, JSMA()), "`attack`"),
        (lambda m: AdversarialModel(m, None), "`attack`"),
        (lambda m: AdversarialModel(m, PGD(eps=0.1, targeted=True)), "untargeted"),
        (lambda m: AdversarialModel(m, WEAK, natural_weight=-0.1), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, natural_weight=1.0), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, float("nan")), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, warmup_steps=-1), "warmup_steps"),
        (lambda m: AdversarialModel(m, WEAK, warmup_steps=1.5), "warmup_steps"),
        (lambda m: AdversarialModel(m, WEAK, 0.5, objective=MART()), "must be 0"),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(InputError, match=message):
        make(flat())


@pytest.mark.seam
@pytest.mark.parametrize("dtype", [None, "uint8"])
def test_uint8_batches_reach_the_model_as_floats_inside_the_ball(images, dtype):
    # As source cleverhans #265 has it: in integers 1.9 becomes +1 and -2.
    x, y = images
    pixels = np.round(x * 255).astype("uint8")
    attack = FGSM(eps=1.9, bounds=(0, 255))
    weights = []
    for values in (pixels, pixels.astype("float32")):
        model = flat(dtype=dtype, inside=[keras.layers.Rescaling(1 / 255)])
        wrapped = AdversarialModel(model, attack)
        wrapped.compile(keras.optimizers.SGD(1.0), XE)
        moved = to_numpy(wrapped._perturb(values, y)) - pixels
        inner = (pixels > 5) & (pixels < 250)
        assert set(np.unique(np.abs(moved[inner]).round(3))) <= {0, np.float32(1.9)}
        wrapped.fit(values, y, batch_size=32, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.seam
def test_an_integer_input_trains_on_what_its_float_twin_trains_on(images):
    x, y = images
    pixels = np.round(x * 255).astype("uint8")
    attack = PGD(eps=8, steps=2, bounds=(0, 255), seed=0)

    def trained(dtype):
        return fitted(
            lambda m: AdversarialModel(m, attack),
            (pixels, y),
            compile={"optimizer": keras.optimizers.SGD(0.5)},
            build=lambda: flat(dtype=dtype, inside=[keras.layers.Rescaling(1 / 255)]),
            batch_size=32,
        )[0]

    assert_same_weights(trained("uint8"), trained(None))


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("objective", [None, TRADES(), MART()])
def test_one_output_trains_as_its_two_class_twin(images, activation, objective):
    # The gradient of two logits is that of one, shared between them: half the rate.
    x, y = images[0], (images[1] > 4).astype("float32")
    attack = PGD(eps=0.1, steps=2, seed=0)
    from_logits = activation is None
    one = flat(1, activation)
    two = flat(2)
    kernel, bias = one.get_weights()
    two.set_weights(
        [np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias, bias]) / 2]
    )
    outputs = []
    for model, loss, rate in (
        (one, keras.losses.BinaryCrossentropy(from_logits), 0.1),
        (two, XE, 0.05),
    ):
        wrapped = AdversarialModel(model, attack, objective=objective)
        wrapped.compile(keras.optimizers.SGD(rate), loss)
        wrapped.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
        outputs.append(to_numpy(wrapped.classifier.logits(x)))
    margins = [z[:, 1] - z[:, 0] for z in outputs]
    # Where a divergence is flat, rounding decides on the sign of a step.
    np.testing.assert_allclose(*margins, atol=1e-4 if objective is None else 0.05)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(10)

    def call(self, x):
        return self.dense(self.flatten(x))


@pytest.mark.seam
def test_a_subclassed_model_and_one_output_in_a_dict_train_as_the_plain_one(images):
    x, y = images
    margins = []
    for kind in ("plain", "subclassed", "dict"):
        model = (
            Subclassed()
            if kind == "subclassed"
            else flat(name="c" * (kind == "dict") or None)
        )
        model(x[:1])
        model.set_weights([np.eye(784, 10, dtype="float32"), np.zeros(10)])
        wrapped = AdversarialModel(model, WEAK)
        wrapped.compile(keras.optimizers.SGD(0.1), {"c": XE} if kind == "dict" else XE)
        labels = {"c": y} if kind == "dict" else y
        wrapped.fit(x, labels, batch_size=32, shuffle=False, verbose=0)
        margins.append(to_numpy(wrapped.classifier.logits(x)))
    np.testing.assert_allclose(margins[1], margins[0], atol=1e-6)
    np.testing.assert_allclose(margins[2], margins[0], atol=1e-6)

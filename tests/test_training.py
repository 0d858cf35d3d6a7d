"""Adversarial training and COT: as Keras's own training, and what they add."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import losses, models
from keras_gce.attacks import BIM, FGSM, JSMA, PGD
from keras_gce.errors import InputError
from keras_gce.training import MART, TRADES, AdversarialModel, ComplementObjectiveModel

XE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
GCE = losses.GuidedComplementEntropy(from_logits=True)
WEAK = BIM(eps=0.1, steps=2)


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.take(64).arrays()


def small(activation=None, inputs=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((28, 28, 1)) if inputs is None else inputs
    image = inputs["image"] if isinstance(inputs, dict) else inputs
    z = keras.layers.Conv2D(4, 5, strides=4, activation="relu")(image)
    z = keras.layers.BatchNormalization()(z)
    z = keras.layers.Dense(10, activation=activation)(keras.layers.Flatten()(z))
    return keras.Model(inputs, z)


def trained(wrap, images, epochs=2, compile=None, activation=None, **fit):
    """Wraps, compiles and fits a small model; returns it and its history."""
    model = wrap(small(activation))
    model.compile(
        **{"optimizer": keras.optimizers.SGD(0.05), "loss": XE} | (compile or {})
    )
    x, y = images
    history = model.fit(
        x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, **fit
    )
    return model, history.history


def assert_same_weights(a, b, atol=1e-6):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_the_step_is_that_of_the_perturbed_batch(images):
    x, y = images
    wrapped, _ = trained(
        lambda m: AdversarialModel(m, WEAK), (x[:16], y[:16]), epochs=1
    )
    model = small()
    model.compile(keras.optimizers.SGD(0.05), XE)
    model.train_on_batch(to_numpy(WEAK(model, x[:16], y[:16])), y[:16])
    assert_same_weights(model, wrapped.model)


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
import keras, numpy as np, tensorflow as tf
from keras_gce.attacks import BIM, PGD
from keras_gce.training import AdversarialModel

tf.config.experimental.enable_op_determinism()
cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
x = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
y = np.arange(32) % 10

def weights(wrap, scope=None):
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
    logs = wrapped.fit(
        x, y, batch_size=12, epochs=2, shuffle=False, verbose=0)
    return model.get_weights(), logs.history

def difference(a, b):
    pairs = zip(a[0] + [a[1]["loss"]], b[0] + [b[1]["loss"]])
    return max(float(np.abs(np.subtract(p, q)).max()) for p, q in pairs)

plain = weights(lambda model: model)
zero = weights(lambda model: AdversarialModel(model, PGD(eps=0.0)))
def mixed(model):
    return AdversarialModel(model, BIM(eps=0.1, steps=2), natural_weight=0.5)
one = weights(mixed)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two = weights(mixed, strategy.scope())
print(difference(plain, zero), difference(one, two), difference(plain, one),
      strategy.num_replicas_in_sync)
"""


def test_eps_0_is_the_plain_model_and_two_devices_are_one(tf):
    process = subprocess.run(
        [sys.executable, "-c", ISOLATED], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    zero, devices, attacked, replicas = process.stdout.split()[-4:]
    assert float(zero) == 0
    assert float(devices) < 1e-5 and replicas == "2"
    assert float(attacked) > 1e-3


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


def test_trades_attacks_the_divergence(images):
    x, y = (part[:32] for part in images)
    model = models.SmallCNN()
    wrapped = AdversarialModel(model, PGD(eps=0.1, seed=0), objective=TRADES())
    wrapped.compile("sgd", XE)
    perturbed = to_numpy(wrapped._perturb(x, y))
    natural = keras.ops.softmax(model(x))

    def divergence(x):
        values = keras.losses.kl_divergence(natural, keras.ops.softmax(model(x)))
        return float(keras.ops.mean(values))

    noise = np.clip(x + np.random.default_rng(0).choice([-0.1, 0.1], x.shape), 0, 1)
    assert divergence(perturbed) > 5 * divergence(noise)


def test_warmup_grows_eps_without_a_retrace(tf, images):
    x, y = (part[:16] for part in images)
    wrapped = AdversarialModel(small(), BIM(eps=0.1, steps=2), warmup_steps=4)
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


def test_the_random_start_differs_from_step_to_step(images):
    x, y = (part[:16] for part in images)
    wrapped = AdversarialModel(small(), PGD(eps=0.1, steps=1, seed=3))
    wrapped.compile(keras.optimizers.SGD(0.0), XE)
    first, again = (to_numpy(wrapped._perturb(x, y)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    wrapped.train_on_batch(x, y)
    assert (to_numpy(wrapped._perturb(x, y)) != first).any()


def test_every_form_of_data(tf, images):
    x, y = images
    expected, history = trained(lambda m: AdversarialModel(m, WEAK), images)

    def same(data, compile=None, **fit):
        wrapped = AdversarialModel(small(), WEAK)
        wrapped.compile(
            **{"optimizer": keras.optimizers.SGD(0.05), "loss": XE} | (compile or {})
        )
        wrapped.fit(*data, epochs=2, shuffle=False, verbose=0, **fit)
        assert_same_weights(expected.model, wrapped.model)

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    same([dataset])
    same([dataset], {"steps_per_execution": 3})
    same([x, y[:, None]], batch_size=16)
    one_hot = np.eye(10, dtype="float32")[y]
    same(
        [x, one_hot],
        {"loss": keras.losses.CategoricalCrossentropy(True)},
        batch_size=16,
    )
    same([x, y], {"jit_compile": True}, batch_size=16)
    same([x, y], {"jit_compile": False}, batch_size=16)
    same([x, y], batch_size=16, sample_weight=np.ones(64))
    same([x, y], batch_size=16, class_weight=dict.fromkeys(range(10), 1.0))

    inputs = {"image": keras.Input((28, 28, 1), name="image")}
    wrapped = AdversarialModel(small(inputs=inputs), WEAK)
    wrapped.compile(keras.optimizers.SGD(0.05), XE)
    wrapped.fit({"image": x}, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    assert_same_weights(expected.model, wrapped.model)


def test_class_weights_count(images):
    x, y = images
    weights = {k: float(k == 3) for k in range(10)}
    wrapped, _ = trained(
        lambda m: AdversarialModel(m, WEAK), images, epochs=1, class_weight=weights
    )
    rows = y == 3
    plain, _ = trained(lambda m: AdversarialModel(m, WEAK), images, epochs=1)
    different = [
        np.abs(a - b).max()
        for a, b in zip(wrapped.get_weights(), plain.get_weights(), strict=True)
    ]
    assert rows.any() and max(different) > 1e-3


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.Adam(
            0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
        ),
        keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
        keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9), clipnorm=1.0
        ),
    ],
)
@pytest.mark.parametrize("wrap", ["adversarial", "complement"])
def test_optimizers(images, optimizer, wrap):
    optimizer = type(optimizer).from_config(optimizer.get_config())
    wrap = {
        "adversarial": lambda m: AdversarialModel(m, WEAK, natural_weight=0.5),
        "complement": ComplementObjectiveModel,
    }[wrap]
    _, history = trained(
        wrap,
        images,
        epochs=12,
        compile={"optimizer": optimizer, "metrics": ["accuracy"]},
    )
    assert history["loss"][-1] < 0.95 * history["loss"][0]


def test_mixed_precision(images):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for wrap in (
            lambda m: AdversarialModel(m, WEAK, objective=MART()),
            ComplementObjectiveModel,
        ):
            compile = {"optimizer": keras.optimizers.Adam(0.01)}
            wrapped, history = trained(wrap, images, epochs=6, compile=compile)
            assert type(wrapped.optimizer).__name__ == "LossScaleOptimizer"
            assert np.isfinite(history["loss"]).all()
            assert history["loss"][-1] < history["loss"][0]
    finally:
        keras.config.set_dtype_policy("float32")


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


def test_staying_at_chance_warns(images):
    compile = {"optimizer": keras.optimizers.SGD(0.0), "metrics": ["accuracy"]}
    x, y = images
    wrong = (y + 1) % 10
    with pytest.warns(UserWarning, match="stayed at chance.*warmup_steps"):
        model = AdversarialModel(small(), FGSM(eps=1.0))
        model.compile(**compile, loss=XE)
        model.model.layers[-1].set_weights(
            [np.zeros_like(w) for w in model.model.layers[-1].get_weights()]
        )
        # All get class 0, which none has.
        model.fit(x, np.maximum(wrong, 1), verbose=0)


def test_the_wrapped_model_is_the_product(tf, images, tmp_path):
    wrapped, _ = trained(
        lambda m: AdversarialModel(m, WEAK),
        images,
        compile={"loss": GCE, "optimizer": "adam", "metrics": ["accuracy"]},
    )
    x, y = images
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded).__name__ == "Functional"
    assert isinstance(loaded.loss, losses.GuidedComplementEntropy)
    assert int(loaded.optimizer.iterations) == 8
    predicted = loaded.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, wrapped.predict(x, verbose=0))
    attack = BIM(eps=0.1, loss="training")
    np.testing.assert_array_equal(attack(loaded, x, y), attack(wrapped, x, y))
    # Served without Keras.
    wrapped.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(x), predicted, atol=1e-4)

    # The wrapper itself can be written down as well.
    for objective in (None, TRADES(beta=3.0)):
        wrapper = AdversarialModel(loaded, PGD(eps=0.1, seed=5), 0.0, 7, objective)
        copy = AdversarialModel.from_config(wrapper.get_config())
        assert (copy.attack, copy.warmup_steps) == (wrapper.attack, 7)
        assert copy.objective == objective


def test_backup_and_restore(images, tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch, logs):
        if epoch == 1:
            raise Stop

    for number, wrap in enumerate(
        (
            lambda m: AdversarialModel(m, PGD(eps=0.1, steps=2, seed=0)),
            ComplementObjectiveModel,
        )
    ):
        compile = {"optimizer": keras.optimizers.Adam(0.01)}
        whole, _ = trained(wrap, images, epochs=3, compile=compile)
        backup = keras.callbacks.BackupAndRestore(tmp_path / f"backup{number}")
        broken = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
        compile = {"optimizer": keras.optimizers.Adam(0.01)}
        with pytest.raises(Stop):
            trained(wrap, images, epochs=3, compile=compile, callbacks=[backup, broken])
        backup = keras.callbacks.BackupAndRestore(tmp_path / f"backup{number}")
        compile = {"optimizer": keras.optimizers.Adam(0.01)}
        resumed, history = trained(
            wrap, images, epochs=3, compile=compile, callbacks=[backup]
        )
        assert len(history["loss"]) == 2
        assert_same_weights(whole.model, resumed.model)


def test_cot_is_two_updates(images):
    x, y = (part[:16] for part in images)
    cot = ComplementObjectiveModel(small())
    cot.compile(keras.optimizers.SGD(0.1), XE, keras.optimizers.SGD(0.3))
    cot.train_on_batch(x, y)
    model = small()
    model.compile(keras.optimizers.SGD(0.1), XE)
    model.train_on_batch(x, y)
    complement = losses.ComplementEntropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3 / 9), complement)
    model.train_on_batch(x, y)
    assert_same_weights(model, cot.model)


def test_cot_couples_the_learning_rates(images):
    def halved(epoch, rate):
        return rate / 2

    def rates(**compile):
        compile = {"optimizer": keras.optimizers.SGD(0.1), **compile}
        scheduler = keras.callbacks.LearningRateScheduler(halved)
        cot, _ = trained(
            ComplementObjectiveModel, images, compile=compile, callbacks=[scheduler]
        )
        optimizers = (cot.optimizer, cot.complement_optimizer)
        return [float(optimizer.learning_rate) for optimizer in optimizers]

    assert rates() == pytest.approx([0.025, 0.025])
    own = keras.optimizers.SGD(0.01, momentum=0.9)
    assert rates(complement_optimizer=own) == pytest.approx([0.025, 0.0025])


def test_cot_flattens_the_wrong_classes(digits):
    x, y = digits.train.take(500).arrays()

    def flatness(wrap):
        keras.utils.set_random_seed(0)
        model = wrap(models.SmallCNN())
        model.compile(keras.optimizers.Adam(3e-3), XE)
        model.fit(x, y, batch_size=32, epochs=6, verbose=0)
        z = model.predict(x, verbose=0)
        values = losses.complement_entropy(y, z, True, from_logits=True)
        return float(keras.ops.mean(values))

    assert flatness(ComplementObjectiveModel) < flatness(lambda model: model) - 0.1


def multi_output():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense
    return keras.Model(inputs, [dense(3)(inputs), dense(3)(inputs)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: AdversarialModel(multi_output(), WEAK), "2 outputs"),
        (lambda m: ComplementObjectiveModel(multi_output()), "2 outputs"),
        (lambda m: AdversarialModel("model", WEAK), "`model`"),
        (lambda m: AdversarialModel(m, JSMA()), "`attack`"),
        (lambda m: AdversarialModel(m, None), "`attack`"),
        (lambda m: AdversarialModel(m, PGD(eps=0.1, targeted=True)), "untargeted"),
        (lambda m: AdversarialModel(m, WEAK, natural_weight=-0.1), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, natural_weight=1.0), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, float("nan")), "natural_weight"),
        (lambda m: AdversarialModel(m, WEAK, warmup_steps=-1), "warmup_steps"),
        (lambda m: AdversarialModel(m, WEAK, warmup_steps=1.5), "warmup_steps"),
        (lambda m: AdversarialModel(m, WEAK, objective="trades"), "`objective`"),
        (lambda m: AdversarialModel(m, WEAK, 0.5, objective=MART()), "must be 0"),
        (lambda m: AdversarialModel(m, WEAK, objective=TRADES()), "random_start"),
        (lambda m: TRADES(beta=-1.0), "`beta`"),
        (lambda m: MART(beta=float("inf")), "`beta`"),
        (
            lambda m: ComplementObjectiveModel(models.SmallCNN(num_classes=2)),
            "at least 3 classes",
        ),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(InputError, match=message):
        make(small())

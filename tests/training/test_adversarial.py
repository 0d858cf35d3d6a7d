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


def flat(units=10, activation=None, dtype=None, inside=(), name=None):
    """A linear model of 28 x 28 images, with layers before its end."""
    image = keras.Input((28, 28, 1), dtype=dtype)
    z = image
    for layer in (*inside, keras.layers.Flatten()):
        z = layer(z)
    z = keras.layers.Dense(units, activation=activation, name=name)(z)
    return keras.Model(image, z if name is None else {name: z})


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(10)

    def call(self, x):
        return self.dense(self.flatten(x))


@pytest.mark.parametrize(
    "spoil,received",
    [
        (lambda x, y: (x * 255, y), "to 255.0"),
        (lambda x, y: (np.where(x > 0.5, np.nan, x), y), "nan"),
        (lambda x, y: (x - 0.5, y), "from -0.5"),
        (lambda x, y: (x, y + 5), "Received: 1[0-4]"),
        (lambda x, y: (x, y + 0.5), r"Received: \d+.5"),
        (lambda x, y: (x, np.stack([y, y], -1)), r"shape \(64, 2\)"),
        (lambda x, y: (x[..., 0], y), "without the axis of the channel"),
        (lambda x, y: ([x, x], y), "x with 2"),
    ],
)
def test_fit_looks_at_its_first_batch(images, spoil, received):
    model = flat()
    before = model.get_weights()
    wrapped = AdversarialModel(model, WEAK)
    wrapped.compile("adam", XE)
    with pytest.raises(InputError, match=received) as error:
        wrapped.fit(*spoil(*images), verbose=0)
    assert "\n" not in str(error.value)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_looks_at_every_form_of_data_and_loses_no_batch(images):
    x, y = images

    class Batches(keras.utils.PyDataset):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def __len__(self):
            return 4

        def __getitem__(self, i):
            some = slice(16 * i, 16 * i + 16)
            return x[some] * np.float32(self.scale), y[some]

    def generator(scale):
        for batch in (Batches(scale)[i] for i in range(4)):
            seen.append(scale)
            yield batch

    for form in (Batches, generator):
        seen = []
        for scale in (255, 1):
            wrapped = AdversarialModel(flat(), WEAK)
            wrapped.compile(keras.optimizers.SGD(0.05), XE)
            if scale == 255:
                with pytest.raises(InputError, match="to 255.0"):
                    wrapped.fit(form(scale), verbose=0)
                assert len(seen) <= 1
            else:
                wrapped.fit(form(scale), verbose=0)
                plain = flat()
                plain.compile(keras.optimizers.SGD(0.05), XE)
                plain.fit(form(scale), verbose=0)
                # Keras itself counts 5 where a generator of 4 batches ends.
                updates = int(wrapped.optimizer.iterations)
                assert updates == int(plain.optimizer.iterations) >= 4


def test_a_tf_dataset_is_looked_at(tf, images):
    x, y = images
    wrapped = AdversarialModel(flat(), WEAK)
    wrapped.compile("adam", XE)
    data = tf.data.Dataset.from_tensor_slices((x * 255, y)).batch(16)
    with pytest.raises(InputError, match="to 255.0"):
        wrapped.fit(data, verbose=0)


@pytest.mark.parametrize("dtype", [None, "uint8"])
def test_uint8_batches_reach_the_model_as_floats_inside_the_ball(images, dtype):
    # As source cleverhans #265 has it: in integers 1.9 becomes +1 and -2.
    x, y = images
    pixels = np.round(x * 255).astype("uint8")
    attack = FGSM(eps=1.9, bounds=(0, 255))
    weights = []
    for values in (pixels, pixels.astype("float32")):
        keras.utils.set_random_seed(0)
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


def test_an_integer_input_trains_on_what_its_float_twin_trains_on(images):
    x, y = images
    pixels = np.round(x * 255).astype("uint8")
    weights = []
    for dtype in ("uint8", None):
        keras.utils.set_random_seed(0)
        model = flat(dtype=dtype, inside=[keras.layers.Rescaling(1 / 255)])
        wrapped = AdversarialModel(model, PGD(eps=8, steps=2, bounds=(0, 255), seed=0))
        wrapped.compile(keras.optimizers.SGD(0.5), XE)
        wrapped.fit(pixels, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("objective", [None, TRADES(), MART()])
def test_one_output_trains_as_its_two_class_twin(images, activation, objective):
    # The gradient of two logits is that of one, shared between them: half the rate.
    x, y = images[0], (images[1] > 4).astype("float32")
    attack = PGD(eps=0.1, steps=2, seed=0)
    from_logits = activation is None
    keras.utils.set_random_seed(0)
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


def test_a_subclassed_model_and_one_output_in_a_dict_train_as_the_plain_one(images):
    x, y = images
    margins = []
    for kind in ("plain", "subclassed", "dict"):
        keras.utils.set_random_seed(0)
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


@pytest.mark.parametrize(
    "wrap", [lambda m: AdversarialModel(m, WEAK), ComplementObjectiveModel]
)
def test_saved_weights_are_the_wrapped_models(images, tmp_path, wrap):
    wrapped, _ = trained(wrap, images)
    wrapped.save_weights(tmp_path / "best.weights.h5")
    bare = small()
    bare.load_weights(tmp_path / "best.weights.h5")
    assert_same_weights(bare, wrapped.model, atol=0)
    wrapped.save_state(tmp_path / "state.weights.h5")
    again = wrap(small())
    again.compile(keras.optimizers.SGD(0.05), XE)
    again.optimizer.build(again.trainable_variables)
    again.load_state(tmp_path / "state.weights.h5")
    assert_same_weights(again.model, wrapped.model, atol=0)
    assert int(again.optimizer.iterations) == int(wrapped.optimizer.iterations) == 8


@pytest.mark.parametrize("accuracy,warns", [(0.004, True), (0.02, False)])
def test_the_warning_speaks_of_200_classes(accuracy, warns, recwarn):
    # 0.5% is chance there; 2% is four times that, and was warned of.
    wrapped = AdversarialModel(flat(200), WEAK)
    history = keras.callbacks.History()
    history.history = {"accuracy": [accuracy]}
    wrapped._warn_at_chance(history)
    messages = [str(w.message) for w in recwarn if "chance" in str(w.message)]
    assert [("200 classes" in m, "warmup_steps" in m) for m in messages] == [
        (True, True)
    ] * warns


def test_the_warning_does_not_advise_what_was_given(recwarn):
    wrapped = AdversarialModel(flat(), WEAK, warmup_steps=10)
    history = keras.callbacks.History()
    history.history = {"accuracy": [0.1]}
    wrapped._warn_at_chance(history)
    (message,) = [str(w.message) for w in recwarn if "chance" in str(w.message)]
    assert "warmup_steps" not in message and "smaller `eps`" in message


def test_every_fit_is_looked_at(images):
    x, y = images
    wrapped = AdversarialModel(flat(), WEAK)
    wrapped.compile("adam", XE)
    wrapped.fit(x, y, verbose=0)
    with pytest.raises(InputError, match="to 255.0"):
        wrapped.fit(x * 255, y, verbose=0)


@pytest.mark.parametrize(
    "make,received",
    [
        (lambda x, y: (x, np.eye(10)[y] * 2), "sums from 2 to 2"),
        (lambda x, y: ((part for part in [(x,)]), None), "no labels"),
    ],
)
def test_labels_that_no_compiled_step_could_refuse(images, make, received):
    wrapped = AdversarialModel(flat(), WEAK)
    wrapped.compile("adam", GCE)
    with pytest.raises(InputError, match=received):
        wrapped.fit(*make(*images), verbose=0)
    wrapped = AdversarialModel(flat(2), PGD(eps=0.1, loss="dlr"))
    wrapped.compile("adam", XE)
    with pytest.raises(InputError, match="Received: 2 classes"):
        wrapped.fit(images[0], images[1] % 2, verbose=0)

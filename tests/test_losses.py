import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_gce.losses import (
    ComplementEntropy,
    GuidedComplementEntropy,
    complement_entropy,
    guided_complement_entropy,
)

ALPHAS = [0, 0.1, 1 / 3, 1, 2]


def reference(y, z, alpha, normalize=True):
    """The loss in float64 by its equation, arXiv 1903.09799, Eq. 3, from logits."""
    values = []
    for label, row in zip(y, np.asarray(z, "float64"), strict=True):
        p = np.exp(row - row.max() - np.log(np.exp(row - row.max()).sum()))
        others = np.delete(row, label)
        q = np.exp(others - others.max())
        q /= q.sum()
        entropy = -sum(v * math.log(v) for v in q if v > 0)
        values.append(-(p[label] ** alpha) * entropy)
    return np.array(values) / (math.log(z.shape[1] - 1) if normalize else 1)


def random_logits(k, scale, n=200):
    rng = np.random.default_rng(k)
    return (scale * rng.normal(size=(n, k))).astype("float32"), rng.integers(0, k, n)


@pytest.mark.parametrize("k", [3, 10, 200])
@pytest.mark.parametrize("scale", [0.1, 1, 10, 100])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_values_are_the_equation(k, scale, alpha):
    z, y = random_logits(k, scale)
    loss = guided_complement_entropy(y, z, alpha, from_logits=True)
    np.testing.assert_allclose(loss, reference(y, z, alpha), atol=1e-5)
    assert float(ops.max(loss)) <= 0 and float(ops.min(loss)) >= -1
    if scale <= 10:  # beyond, probabilities in float32 have lost the smaller classes
        p = keras.ops.softmax(z)
        loss = guided_complement_entropy(y, p, alpha)
        np.testing.assert_allclose(loss, reference(y, z, alpha), atol=1e-5)


def test_complement_entropy_is_alpha_zero():
    z, y = random_logits(10, 3)
    loss = complement_entropy(y, z, from_logits=True)
    np.testing.assert_allclose(loss, reference(y, z, 0, normalize=False), atol=1e-5)
    np.testing.assert_array_equal(
        complement_entropy(y, z, normalize=True, from_logits=True),
        guided_complement_entropy(y, z, alpha=0, from_logits=True),
    )


@pytest.mark.parametrize("k", [3, 4, 10, 100, 1000])
def test_the_ideal_prediction_is_exactly_minus_one(k):
    p = np.eye(k, dtype="float32")[:1]
    assert float(guided_complement_entropy([0], p)[0]) == -1.0
    z = 1e4 * (2 * p - 1)
    assert float(guided_complement_entropy([0], z, from_logits=True)[0]) == -1.0
    assert float(complement_entropy([0], p)[0]) == pytest.approx(-math.log(k - 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("alpha", [0, 0.01, 0.1, 1 / 3, 1, 3])
def test_value_and_gradient_are_finite(tf, dtype, alpha):
    logits = [[1e4, -1e4, -1e4], [-1e4, 1e4, -1e4], [0, 1e4, -1e4], [-1e4] * 3]
    tiny = 6e-8  # the least float16
    probabilities = [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [tiny, 1, 0], [1, tiny, 0]]
    probabilities += [[1, 1e-38, 1e-20], [0, 0, 0], [1, 6.2e-5, tiny]]
    for values, from_logits in ((logits, True), (probabilities, False)):
        y_pred = tf.constant(values, dtype)
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = guided_complement_entropy(
                [0] * len(values), y_pred, alpha, from_logits=from_logits
            )
        gradient = tape.gradient(loss, y_pred)
        assert loss.dtype == dtype
        assert np.isfinite(tf.cast(loss, "float64")).all()
        assert np.isfinite(tf.cast(gradient, "float64")).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradient_is_that_of_the_reference(tf, alpha):
    z, y = random_logits(5, 2, n=6)
    v = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(v)
        loss = guided_complement_entropy(y, v, alpha, from_logits=True)
    gradient, h = tape.gradient(loss, v), 1e-5
    for j in range(5):
        up, down = z.astype("float64"), z.astype("float64")
        up[:, j] += h
        down[:, j] -= h
        slope = (reference(y, up, alpha) - reference(y, down, alpha)) / (2 * h)
        np.testing.assert_allclose(gradient[:, j], slope, atol=1e-5)


def test_label_forms():
    z, y = random_logits(5, 2, n=12)
    expected = guided_complement_entropy(y, z, from_logits=True)
    one_hot = np.eye(5)[y]
    tensor = keras.ops.convert_to_tensor(y)
    for form in (y[:, None], one_hot, y.astype("float32"), y.tolist(), tensor):
        loss = guided_complement_entropy(form, z, from_logits=True)
        np.testing.assert_array_equal(loss, expected)
    deep = z.reshape(3, 4, 5)
    expected = np.reshape(expected, (3, 4))
    for form in (y.reshape(3, 4), y.reshape(3, 4, 1), one_hot.reshape(3, 4, 5)):
        loss = guided_complement_entropy(form, deep, from_logits=True)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
    first = np.moveaxis(deep, -1, 1)
    one_hot_first = np.moveaxis(one_hot.reshape(3, 4, 5), -1, 1)
    for form in (y.reshape(3, 4), y.reshape(3, 1, 4), one_hot_first):
        loss = guided_complement_entropy(form, first, from_logits=True, axis=1)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_label_outside_is_nan_where_it_cannot_be_refused(tf):
    loss = tf.function(lambda y, p: guided_complement_entropy(y, p))
    values = loss(tf.constant([0, 3, -1]), tf.fill((3, 3), 1 / 3))
    assert np.isnan(values).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "arguments,message",
    [
        (([0], [[0.2, 0.3, 0.5]], -1), "`alpha` .* Received: alpha=-1"),
        (([0], [[0.2, 0.3, 0.5]], float("nan")), "Received: alpha=nan"),
        (([0], [[0.2, 0.3, 0.5]], float("inf")), "Received: alpha=inf"),
        (([0], [[0.2, 0.3, 0.5]], "a"), "Received: alpha=a"),
        (([3], [[0.2, 0.3, 0.5]]), r"\[0, 3\).* the label 3"),
        (([-1], [[0.2, 0.3, 0.5]]), "the label -1"),
        (([0.5], [[0.2, 0.3, 0.5]]), "the label 0.5"),
        (([0], [[0.5, 0.5]]), r"at least 3 classes.*y_pred.shape=\(1, 2\)"),
        (([0, 1], [[0.2, 0.3, 0.5]]), r"y_true.shape=\(2,\), y_pred.shape=\(1, 3\)"),
        (([[1, 1, 0]], [[0.2, 0.3, 0.5]]), "one-hot .*Received: y_true="),
    ],
)
def test_errors_name_what_came(arguments, message):
    with pytest.raises(ValueError, match=message):
        guided_complement_entropy(*arguments)


def test_two_classes_without_normalize():
    assert float(complement_entropy([0], [[0.3, 0.7]])[0]) == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        GuidedComplementEntropy(alpha=0.2, from_logits=True, reduction="sum"),
        ComplementEntropy(normalize=True, axis=1, name="ce", dtype="float16"),
    ],
)
def test_config_round_trip(loss):
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    serialized = keras.losses.serialize(loss)
    assert keras.losses.get(serialized).get_config() == loss.get_config()
    with pytest.raises(ValueError):
        keras.losses.get(type(loss).__name__)


def test_class_is_the_function_reduced():
    z, y = random_logits(5, 2, n=8)
    each = np.asarray(guided_complement_entropy(y, z, 0.5, from_logits=True))
    weights = np.linspace(0, 1, 8)
    for reduction, value in (("sum", each.sum()), (None, each), ("mean", each.mean())):
        loss = GuidedComplementEntropy(0.5, from_logits=True, reduction=reduction)
        np.testing.assert_allclose(loss(y, z), value, rtol=1e-5)
    loss = GuidedComplementEntropy(0.5, from_logits=True)
    np.testing.assert_allclose(
        loss(y, z, sample_weight=weights), (each * weights).mean(), rtol=1e-5
    )


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_fit(jit_compile, policy):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 6)).astype("float32")
    y = np.argmax(x[:, :4], -1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(32, activation="relu", dtype=policy),
            keras.layers.Dense(4, activation="softmax", dtype=policy),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss=GuidedComplementEntropy(),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    # The last batch is smaller; class weights cannot go with sample weights.
    weights = {"class_weight": dict.fromkeys(range(4), 1.0)}
    if jit_compile:
        weights = {"sample_weight": np.ones(96)}
    fitted = model.fit(x, y, batch_size=20, epochs=20, verbose=0, **weights)
    history = fitted.history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert history["accuracy"][-1] > 0.7


def test_masks_leave_out_what_is_masked():
    x = np.array([[1, 2, 0], [3, 0, 0]])
    y = np.array([[0, 1, 2], [2, 2, 2]])
    model = keras.Sequential(
        [
            keras.layers.Embedding(4, 8, mask_zero=True),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(loss=GuidedComplementEntropy())
    p, value = model.predict(x, verbose=0), model.evaluate(x, y, verbose=0)
    each = np.asarray(guided_complement_entropy(y, p))
    assert value == pytest.approx(each[x > 0].mean(), rel=1e-5)


LOAD = """
import sys
import keras  # brings matplotlib by itself, where it is installed
before = set(sys.modules)
import keras_gce
model = keras.models.load_model(sys.argv[1])
assert type(model.loss).__name__ == "GuidedComplementEntropy", model.loss
assert model.loss.alpha == 0.25 and model.loss.from_logits
heavy = {"tensorflow_datasets", "keras_tuner", "matplotlib", "cleverhans"}
assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)
"""


def test_a_saved_model_loads_in_a_fresh_process(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.compile(loss=GuidedComplementEntropy(0.25, from_logits=True))
    model.save(tmp_path / "model.keras")
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")], check=True
    )

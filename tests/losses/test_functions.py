import math

import keras
import numpy as np
import pytest
from equations import (
    compiled,
    gradient_of,
    random_logits,
    reference,
    soft_labels,
    soft_reference,
    to_numpy,
)
from keras import ops
from twins import pairs_under_each

from keras_gce.losses import (
    GuidedComplementEntropy,
    complement_entropy,
    guided_complement_entropy,
)

ALPHAS = [0, 0.1, 1 / 3, 1, 2]
THOUSAND = pytest.param(1000, marks=pytest.mark.integration)


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


@pytest.mark.seam
def test_complement_entropy_is_alpha_zero():
    z, y = random_logits(10, 3)
    loss = complement_entropy(y, z, from_logits=True)
    np.testing.assert_allclose(loss, reference(y, z, 0, normalize=False), atol=1e-5)
    np.testing.assert_array_equal(
        complement_entropy(y, z, normalize=True, from_logits=True),
        guided_complement_entropy(y, z, alpha=0, from_logits=True),
    )


@pytest.mark.seam
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


@pytest.mark.parametrize("k", [3, 10, THOUSAND])
@pytest.mark.parametrize("scale", [0.1, 3, 100, 1e4])
@pytest.mark.parametrize("kind", ["smoothing", "mixup", "teacher"])
def test_soft_labels_are_the_expectation(kind, k, scale):
    z, y = random_logits(k, scale, n=20)
    z[:5] += 20 * np.eye(k, dtype="float32")[y[:5]]  # p_g -> 1
    z[5:9, :2] = z[5:9].max(-1, keepdims=True)  # the most probable class is two
    y = soft_labels(kind, y, k).astype("float32")
    for alpha in (0, 1 / 3, 2):
        loss = guided_complement_entropy(y, z, alpha, from_logits=True)
        np.testing.assert_allclose(loss, soft_reference(y, z, alpha), atol=1e-5)
        if scale <= 3:
            p = 1.001 * ops.softmax(z)  # nor need they add up to 1 exactly
            loss = guided_complement_entropy(y, p, alpha) / 1.001**alpha
            np.testing.assert_allclose(loss, soft_reference(y, z, alpha), atol=1e-5)
    loss = complement_entropy(y, z, from_logits=True)
    expected = soft_reference(y, z, 0, normalize=False)
    np.testing.assert_allclose(loss, expected, atol=2e-5)


@pytest.mark.parametrize(
    "kind,k", pairs_under_each(("smoothing", "mixup", "teacher"), (3, 5, 1000))
)
def test_gradient_under_soft_labels(kind, k):
    z, y = random_logits(k, 3, n=6)
    z[:3] += 10 * np.eye(k, dtype="float32")[y[:3]]
    y = soft_labels(kind, y, k)
    gradient = gradient_of(
        lambda z: guided_complement_entropy(y, z, from_logits=True), z
    )
    h = 1e-5
    for j in range(min(k, 5)):
        up, down = z.astype("float64"), z.astype("float64")
        up[:, j] += h
        down[:, j] -= h
        slope = (soft_reference(y, up, 1 / 3) - soft_reference(y, down, 1 / 3)) / 2 / h
        np.testing.assert_allclose(gradient[:, j], slope, atol=1e-5)


@pytest.mark.parametrize(
    "dtype,alpha",
    pairs_under_each(("float16", "bfloat16", "float32"), (0, 0.01, 1 / 3, 1)),
)
def test_value_and_gradient_are_finite_under_soft_labels(dtype, alpha):
    logits = [[1e4, -1e4, -1e4], [-1e4, 1e4, 1e4], [0, 1e4, -1e4], [-1e4] * 3]
    tiny = 6e-8  # the least float16
    probabilities = [[1, 0, 0], [0, 0.5, 0.5], [tiny, 1, 0], [1, tiny, 0], [0, 0, 0]]
    labels = [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5], [0, 0.01, 0.99]]
    for values, from_logits in ((logits, True), (probabilities, False)):
        y = np.repeat(labels, len(values), axis=0)
        y_pred = ops.cast(values * len(labels), dtype)

        def loss(y_pred, y=y, from_logits=from_logits):
            return guided_complement_entropy(y, y_pred, alpha, from_logits=from_logits)

        value = loss(y_pred)
        assert keras.backend.standardize_dtype(value.dtype) == dtype
        assert np.isfinite(to_numpy(value)).all()
        assert np.isfinite(gradient_of(loss, y_pred)).all()
        if from_logits:
            expected = soft_reference(y, to_numpy(y_pred), alpha)
            rounding = {"float16": 1e-3, "bfloat16": 4e-3, "float32": 1e-5}[dtype]
            np.testing.assert_allclose(to_numpy(value), expected, atol=rounding)


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize("k", [3, THOUSAND])
@pytest.mark.parametrize("jit", [False, True])
def test_one_hot_floats_are_the_integers(k, jit):
    z, y = random_logits(k, 3, n=60)
    z[:20] += 40 * np.eye(k, dtype="float32")[y[:20]]  # p_g -> 1

    def loss(y, z):
        return guided_complement_entropy(y, z, from_logits=True)

    one_hot = np.eye(k, dtype="float32")[y]
    called = compiled(loss) if jit else loss
    np.testing.assert_allclose(called(one_hot, z), called(y, z), atol=1e-6)
    assert (to_numpy(called(one_hot, 2e4 * one_hot)) == -1).all()
    gradients = [gradient_of(lambda z, y=y: called(y, z), z) for y in (one_hot, y)]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-8)


def test_classes_without_weight_add_nothing():
    y, z = [[0.5, 0.5, 0.0, 0.0]], np.array([[3, 1, 9, -2]], "float32")
    loss = guided_complement_entropy(y, z, from_logits=True)
    expected = guided_complement_entropy([0, 1], np.repeat(z, 2, 0), from_logits=True)
    assert float(loss[0]) == pytest.approx(float(ops.mean(expected)), abs=1e-6)


def test_many_classes_under_soft_labels():
    # Equal logits: loss(g, p) = -p_g**alpha = -K**-alpha for each g. K * K floats
    # would be 6 GB for the four of them.
    k = 20_000
    y = np.random.default_rng(0).dirichlet(np.ones(k), 4).astype("float32")
    loss = guided_complement_entropy(y, np.zeros((4, k), "float32"), from_logits=True)
    np.testing.assert_allclose(loss, np.full(4, -(k ** (-1 / 3))), atol=1e-6)


@pytest.mark.seam
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
    soft = soft_labels("smoothing", y, 5)
    expected = soft_reference(soft, z, 1 / 3)
    for form in (soft.tolist(), ops.convert_to_tensor(soft, "float32")):
        loss = guided_complement_entropy(form, z, from_logits=True)
        np.testing.assert_allclose(loss, expected, atol=1e-5)
    soft_first = np.moveaxis(soft.reshape(3, 4, 5), -1, 1)
    loss = guided_complement_entropy(soft_first, first, from_logits=True, axis=1)
    np.testing.assert_allclose(loss, expected.reshape(3, 4), atol=1e-5)
    boolean = guided_complement_entropy(one_hot > 0, z, from_logits=True)
    integers = guided_complement_entropy(y, z, from_logits=True)
    np.testing.assert_array_equal(boolean, integers)


@pytest.mark.seam
def test_a_label_outside_is_nan_where_it_cannot_be_refused():
    loss, p = compiled(guided_complement_entropy), np.full((4, 3), 1 / 3, "float32")
    values = loss(np.array([0, 3, -1, 2]), p)
    assert np.isnan(values).tolist() == [False, True, True, False]
    values = loss(np.array([0, 0.5, np.nan, 2], "float32"), p)
    assert np.isnan(values).tolist() == [False, True, True, False]


NO_DISTRIBUTIONS = [
    [1.0, 1.0, 0.0],
    [0.0, 0.0, 0.0],
    [0.5, 0.49, 0.0],
    [1.5, -0.5, 0.0],
    [float("nan"), 1.0, 0.0],
    [float("inf"), 0.0, 0.0],
]


@pytest.mark.seam
def test_what_is_no_distribution_is_nan_where_it_cannot_be_refused():
    y = np.array([[0.2, 0.3, 0.5], *NO_DISTRIBUTIONS], "float32")
    p = np.tile(np.array([[0.2, 0.3, 0.5]], "float32"), (len(y), 1))
    values = compiled(guided_complement_entropy)(y, p)
    assert np.isnan(values).tolist() == [False] + [True] * len(NO_DISTRIBUTIONS)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", GuidedComplementEntropy(from_logits=True))
    assert np.isnan(model.train_on_batch(p[:1], y[1:2]))


@pytest.mark.parametrize("y", NO_DISTRIBUTIONS, ids=str)
def test_what_is_no_distribution_is_refused(y):
    with pytest.raises(
        ValueError, match="`y_true` .* distribution .*Received: y_true="
    ):
        guided_complement_entropy([[0.2, 0.3, 0.5], y], [[0.2, 0.3, 0.5]] * 2)


@pytest.mark.parametrize(
    "dtype,k", pairs_under_each(("float16", "bfloat16"), (3, 10, 1000))
)
def test_distributions_in_half_precision(dtype, k):
    z, y = random_logits(k, 2, n=20)
    y = soft_labels("smoothing", y, k)
    loss = guided_complement_entropy(ops.cast(y, dtype), z, from_logits=True)
    np.testing.assert_allclose(loss, soft_reference(y, z, 1 / 3), atol=5e-3)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (([0], [[0.2, 0.3, 0.5]], -1), "`alpha` .* Received: alpha=-1"),
        (([0], [[0.2, 0.3, 0.5]], float("nan")), "Received: alpha=nan"),
        (([0], [[0.2, 0.3, 0.5]], float("inf")), "Received: alpha=inf"),
        (([0], [[0.2, 0.3, 0.5]], "a"), "Received: alpha='a'"),
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

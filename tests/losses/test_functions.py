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
# Op by op JAX compiles each of them; PyTorch's compiler takes minutes, and of what it
# is given first test_what_torch_compiles makes sure.
EAGER_SEAM = [
    pytest.mark.seam,
    pytest.mark.skipif(keras.backend.backend() == "jax", reason="half a minute"),
]
COMPILED_SEAM = (
    pytest.mark.slow if keras.backend.backend() == "torch" else pytest.mark.seam
)
THOUSAND = pytest.param(1000, marks=pytest.mark.integration)


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


def soft_reference(y, z, alpha, normalize=True):
    """Its expectation in float64, as DESIGN has it, class by class, from logits."""
    z = np.asarray(z, "float64")
    log_p = z - z.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    expectation = np.zeros(len(z))
    for g in range(z.shape[1]):
        others = np.delete(z, g, axis=-1)
        q = np.exp(others - others.max(-1, keepdims=True))
        q /= q.sum(-1, keepdims=True)
        entropy = -np.sum(q * np.log(np.where(q > 0, q, 1)), -1)
        expectation -= y[:, g] * np.exp(alpha * log_p[:, g]) * entropy
    return expectation / (math.log(z.shape[1] - 1) if normalize else 1)


def random_logits(k, scale, n=200):
    rng = np.random.default_rng(k)
    return (scale * rng.normal(size=(n, k))).astype("float32"), rng.integers(0, k, n)


def soft_labels(kind, y, k):
    """What label smoothing, mixup and a teacher make of integer labels."""
    one_hot, rng = np.eye(k)[y], np.random.default_rng(0)
    if kind == "smoothing":
        return 0.9 * one_hot + 0.1 / k
    if kind == "mixup":
        share = rng.random((len(y), 1))
        return share * one_hot + (1 - share) * one_hot[::-1]
    return rng.dirichlet(np.ones(k), len(y))


def compiled(function):
    """`function` where its arguments have no values yet."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return pytest.skip("torch runs what Keras compiles eagerly")


def gradient_of(function, x):
    """The gradient of the sum of `function(x)`, on each backend."""
    x = ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    elif keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(lambda x: ops.sum(function(x)))(x)
    else:
        x.requires_grad_()
        function(x).sum().backward()
        gradient = x.grad
    return to_numpy(gradient)


def to_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


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


@pytest.mark.seam
@pytest.mark.parametrize("k", [3, 5, 1000])
@pytest.mark.parametrize("kind", ["smoothing", "mixup", "teacher"])
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


@pytest.mark.seam
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("alpha", [0, 0.01, 1 / 3, 1])
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


@pytest.mark.seam
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("k", [3, 10, 1000])
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


@pytest.mark.seam
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


@pytest.mark.seam
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
    y = soft_labels("mixup", y, 5)
    each = soft_reference(y, z, 0.5)
    np.testing.assert_allclose(
        loss(y, z, sample_weight=weights), (each * weights).mean(), rtol=1e-5
    )


@pytest.mark.integration
@pytest.mark.parametrize(
    ("policy", "jit_compile"),
    [
        pytest.param("float32", True, marks=COMPILED_SEAM),
        pytest.param("mixed_float16", False, marks=EAGER_SEAM),
        ("float32", False),
        ("mixed_float16", True),
        ("mixed_bfloat16", False),
        ("mixed_bfloat16", True),
    ],
)
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


@pytest.mark.seam
@pytest.mark.parametrize("soft", [False, True])
def test_what_torch_compiles(soft):
    """The graphs that its compiler is given, without the code that it makes of them.

    Several, since labels that can be seen are looked at.
    """
    if keras.backend.backend() != "torch":
        pytest.skip("about PyTorch")
    import torch

    z, y = random_logits(5, 3, n=20)
    y = torch.as_tensor(soft_labels("mixup", y, 5) if soft else y)

    def loss(z):
        return guided_complement_entropy(y, z, from_logits=True)

    whole = torch.compile(loss, backend="aot_eager")
    tensor = torch.as_tensor(z)
    np.testing.assert_allclose(
        to_numpy(whole(tensor)), to_numpy(loss(tensor)), atol=1e-6
    )
    np.testing.assert_allclose(gradient_of(whole, z), gradient_of(loss, z), atol=1e-6)


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", ["smoothing", "mixup"])
def test_fit_on_soft_labels(kind, policy):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype("float32")
    classes = np.argmax(x[:, :4], -1)
    y = soft_labels("smoothing", classes, 4)
    inputs = x
    if kind == "mixup":
        share = rng.beta(0.2, 0.2, (200, 1))
        inputs = share * x + (1 - share) * x[::-1]
        y = share * np.eye(4)[classes] + (1 - share) * np.eye(4)[classes[::-1]]
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(32, activation="relu", dtype=policy),
            keras.layers.Dense(4, dtype=policy),
        ]
    )
    loss = GuidedComplementEntropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss,
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() != "torch",
    )
    before = loss(y, model.predict(inputs, verbose=0))
    history = model.fit(inputs, y, batch_size=30, epochs=15, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["accuracy"][-1] > max(history["accuracy"][0], 0.7)
    assert float(loss(y, model.predict(inputs, verbose=0))) < float(before)
    assert np.mean(np.argmax(model.predict(x, verbose=0), -1) == classes) > 0.7


@pytest.mark.seam
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


@pytest.mark.integration
def test_a_saved_model_loads_in_a_fresh_process(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.compile(loss=GuidedComplementEntropy(0.25, from_logits=True))
    model.save(tmp_path / "model.keras")
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")], check=True
    )

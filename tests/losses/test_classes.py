import subprocess
import sys

import keras
import numpy as np
import pytest
from equations import (
    gradient_of,
    random_logits,
    soft_labels,
    soft_reference,
    to_numpy,
)
from twins import pairs_under_each

from keras_gce.losses import (
    ComplementEntropy,
    GuidedComplementEntropy,
    guided_complement_entropy,
)

# Op by op JAX compiles each of them; PyTorch's compiler takes minutes, and of what it
# is given first test_what_torch_compiles makes sure.
EAGER_SEAM = [
    pytest.mark.seam,
    pytest.mark.skipif(keras.backend.backend() == "jax", reason="half a minute"),
]
COMPILED_SEAM = (
    pytest.mark.slow if keras.backend.backend() == "torch" else pytest.mark.seam
)


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
@pytest.mark.parametrize(
    "kind,policy",
    pairs_under_each(("smoothing", "mixup"), ("float32", "mixed_bfloat16")),
)
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

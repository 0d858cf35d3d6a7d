"""Tests of keras_gce.models."""

import math
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_gce import models
from keras_gce.models import residual

# Trained weights, from sources other than this code:
# - LeNet5: 156 + 2,416 + 48,120 + 10,164 + 850, by hand from LeCun et al. 1998,
#   figure 2, all maps connected.
# - ResNet20, ResNet56: 0.27 M and 0.85 M in He et al. 2016, table 6. By hand, with n
#   blocks of two 3x3 convolutions and their batch norms at 16, 32 and 64 filters:
#   432 + 32 + n * (4,672 + 18,560 + 73,984) - 23,040 + 650, where 23,040 is what the
#   first blocks of stages 2 and 3 lack, their input being half as deep.
# - ResNet50: torchvision's resnet50 has 25,557,032, with a 7x7 stem (64 * 3 * 40
#   more) and 1,000 classes (800 * 2,049 more).
# - SmallCNN: 208 + 1,168 + 4,640 + 330, by hand.
COUNTS = {
    "LeNet5": 61_706,
    "ResNet20": 464 + 3 * 97_216 - 23_040 + 650,
    "ResNet56": 464 + 9 * 97_216 - 23_040 + 650,
    "ResNet50": 25_557_032 - 64 * 3 * 40 - 800 * 2_049,
    "SmallCNN": 6_346,
}
RESNETS = ("ResNet20", "ResNet56", "ResNet50")


@pytest.fixture(scope="module")
def built():
    return {name: getattr(models, name)() for name in COUNTS}


def kernels(model):
    return [w for w in model.trainable_weights if w.path.endswith("kernel")]


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_weights(name, built):
    weights = built[name].trainable_weights
    assert sum(math.prod(weight.shape) for weight in weights) == COUNTS[name]


def test_he_et_al_table_6():
    assert round(COUNTS["ResNet20"] / 1e6, 2) == 0.27
    assert round(COUNTS["ResNet56"] / 1e6, 2) == 0.85


@pytest.mark.parametrize(
    "name, layers", [("ResNet20", 20), ("ResNet56", 56), ("ResNet50", 50 + 4)]
)
def test_depth(name, layers, built):
    # ResNet50 has its four projection shortcuts besides.
    assert len(kernels(built[name])) == layers


@pytest.mark.parametrize("name", COUNTS)
def test_features_then_logits(name, built):
    features, logits = built[name].layers[-2:]
    assert (features.name, logits.name) == ("features", "logits")
    assert len(features.output.shape) == 2
    assert logits.activation is keras.activations.linear
    assert built[name].output.shape == (None, 200 if name == "ResNet50" else 10)


@pytest.mark.parametrize("name", ["LeNet5", "ResNet20", "SmallCNN"])
def test_other_shapes_and_classes(name):
    model = getattr(models, name)(num_classes=3, input_shape=[19, 22, 2])
    logits = model(np.zeros((2, 19, 22, 2), "float32"))
    assert logits.shape == (2, 3)
    assert np.all(np.isfinite(keras.ops.convert_to_numpy(logits)))


@pytest.mark.parametrize("name", ["LeNet5", "ResNet20", "SmallCNN"])
@pytest.mark.parametrize("globally", [False, True])
def test_logits_are_float32_under_mixed_precision(name, globally):
    if globally:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = getattr(models, name)()
        finally:
            keras.config.set_dtype_policy(before)
    else:
        model = getattr(models, name)(dtype="mixed_bfloat16")
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert all(
        layer.compute_dtype == "bfloat16"
        for layer in model.layers
        if layer.name != "logits" and not isinstance(layer, keras.layers.InputLayer)
    )
    assert model.get_layer("features").compute_dtype == "bfloat16"
    logits = model(np.full((1, *model.input_shape[1:]), 0.5, "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_shortcut_keeps_every_other_pixel_and_pads_channels():
    inputs = keras.Input((6, 8, 16))
    shortcut = keras.Model(inputs, residual._subsampled(inputs, 32))
    images = np.random.default_rng(0).random((2, 6, 8, 16), dtype="float32")
    expected = np.zeros((2, 3, 4, 32), "float32")
    expected[..., 8:24] = images[:, ::2, ::2]
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(shortcut(images)), expected
    )


def test_strided_convolution_is_centred_on_the_shortcuts_pixels():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, residual._conv_bn(inputs, 1, 3, None, 2, None))
    identity = np.zeros((3, 3, 1, 1), "float32")
    identity[1, 1] = 1
    kernels(model)[0].assign(identity)
    images = np.random.default_rng(0).random((1, 8, 8, 1), dtype="float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(images)), images[:, ::2, ::2], rtol=1e-4
    )


def test_weight_decay_is_on_the_kernels_only_and_half_in_keras_terms():
    model = models.ResNet20(weight_decay=1e-2)
    assert len(model.losses) == len(kernels(model)) == 20
    # Weight decay d adds d * w to the gradient: the penalty is d / 2 * sum(w**2).
    penalty = sum(
        np.sum(np.square(keras.ops.convert_to_numpy(kernel), dtype="float64"))
        for kernel in kernels(model)
    )
    assert float(sum(model.losses)) == pytest.approx(1e-2 / 2 * penalty, rel=1e-5)


def test_no_weight_decay_by_default(built):
    assert not any(built[name].losses for name in RESNETS)


@pytest.mark.integration
def test_saved_model_loads_where_only_keras_is_imported(tmp_path):
    model = models.ResNet20(weight_decay=1e-4)
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "logits = model(np.load('images.npy'))\n"
        "np.save('logits.npy', keras.ops.convert_to_numpy(logits))\n"
        "sys.exit(any(name.startswith('keras_gce') for name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"),
        keras.ops.convert_to_numpy(model(images)),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.0, True, None, "10"])
def test_refuses_num_classes(name, num_classes):
    received = re.escape(f"Received: num_classes={num_classes!r}")
    with pytest.raises(ValueError, match=f"`num_classes` must be .* {received}"):
        getattr(models, name)(num_classes=num_classes)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "input_shape",
    [(28, 28), (28, 28, 0), (4, 28, 1), (28, 4, 1), 28, None, (None, None, 3), "abc"],
)
def test_refuses_input_shape(name, input_shape):
    received = re.escape(f"Received: input_shape={input_shape!r}")
    with pytest.raises(ValueError, match=f"`input_shape` must be .* {received}"):
        getattr(models, name)(input_shape=input_shape)


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("decay", [-1e-4, math.nan, math.inf, "1e-4", None, True])
def test_refuses_weight_decay(name, decay):
    received = re.escape(f"Received: weight_decay={decay!r}")
    with pytest.raises(ValueError, match=f"`weight_decay` must be .* {received}"):
        getattr(models, name)(weight_decay=decay)


def test_smallest_images():
    assert models.LeNet5(input_shape=(12, 12, 1)).output_shape == (None, 10)
    assert models.SmallCNN(input_shape=(8, 8, 1)).output_shape == (None, 10)
    assert models.ResNet20(input_shape=(8, 8, 1)).output_shape == (None, 10)

"""The logits of a model: each kind is evaluated as its plain twin is."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from twins import (
    HIDDEN,
    ONE,
    SHAPE,
    N,
    Subclassed,
    dense,
    functional,
    in_structure,
    library_softmax,
    nested,
    own_call,
    report_of,
    rescaled,
    sequential,
    under_each,
)

from keras_gce.attacks import FGSM
from keras_gce.classifier import Classifier, logits_of
from keras_gce.errors import InputError


def two_deep():
    inner = keras.Sequential([keras.Input((HIDDEN,)), layers.Dense(4, "softmax")])
    return functional(keras.Sequential([keras.Input((HIDDEN,)), inner]))


def one_of_several():
    inputs = keras.Input((HIDDEN,))
    z = layers.Dense(4, "softmax")(inputs)
    inner = keras.Model(inputs, [inputs, z])
    return functional(lambda h: inner(h)[1])


OF_FOUR = {
    "sequential logits": lambda: sequential(layers.Dense(4)),
    "subclassed": lambda: Subclassed(layers.Dense(4)),
    "functional with a call of its own": own_call,
    "named softmax": lambda: functional(dense("softmax")),
    "keras.activations.softmax": lambda: functional(dense(keras.activations.softmax)),
    "the library's softmax": lambda: functional(dense(library_softmax())),
    "keras.ops.softmax": lambda: functional(dense(ops.softmax)),
    "lambda": lambda: functional(dense(lambda z: ops.softmax(z, axis=-1))),
    "operation": lambda: functional(layers.Dense(4), ops.softmax),
    "Softmax layer": lambda: sequential(layers.Dense(4), layers.Softmax()),
    "Activation layer": lambda: sequential(
        layers.Dense(4), layers.Activation(library_softmax())
    ),
    "Lambda layer": lambda: functional(layers.Dense(4), layers.Lambda(ops.softmax)),
    "then linear float32": lambda: functional(
        dense("softmax"), layers.Activation("linear", dtype="float32")
    ),
    "then Reshape": lambda: functional(dense("softmax"), layers.Reshape((4,))),
    "then Flatten": lambda: functional(dense("softmax"), layers.Flatten()),
    "in a functional in a Sequential": lambda: nested("functional"),
    "in a Sequential in a Sequential": lambda: nested("sequential"),
    "nested, then Identity": lambda: nested("identity"),
    "nested twice": two_deep,
    "one of several outputs of a nested one": one_of_several,
    "a layer as activation": lambda: functional(dense(layers.Softmax())),
    "logits in a dict": lambda: in_structure("dict"),
    "softmax in a dict": lambda: in_structure("dict", True),
    "softmax in a list": lambda: in_structure("list", True),
    "logits of a dict": lambda: in_structure("input"),
    "softmax of a dict": lambda: in_structure("input", True),
}


def squeezed(activation=None):
    return functional(
        layers.Dense(1, activation), lambda z: ops.squeeze(z, axis=-1), given=ONE
    )


OF_ONE = {
    "logit": lambda: functional(layers.Dense(1), given=ONE),
    "sigmoid": lambda: sequential(layers.Dense(1, "sigmoid"), given=ONE),
    "operation": lambda: functional(layers.Dense(1), ops.sigmoid, given=ONE),
    "squeezed logit": squeezed,
    "squeezed sigmoid": lambda: squeezed("sigmoid"),
    "subclassed logit": lambda: Subclassed(layers.Dense(1), given=ONE),
}


def assert_twins(report, twin, differ=0):
    np.testing.assert_array_equal(report.clean, twin.clean)
    assert (report.row_robust != twin.row_robust).sum(1).max() <= differ
    # Neither so weak nor so strong that all models would do.
    assert twin.clean_accuracy == 0.9 and 0.1 < twin.worst_case_accuracy < 0.8


@pytest.mark.parametrize(
    "kind",
    under_each(
        OF_FOUR,
        "subclassed",
        "the library's softmax",
        "lambda",
        "Activation layer",
        "in a Sequential in a Sequential",
        "softmax in a dict",
    ),
)
def test_models_of_four_classes_are_their_plain_twin(four, kind):
    x, y, z, report = four
    model = OF_FOUR[kind]()
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)
    assert Classifier(model).num_classes == 4
    # Another order of sums may decide one example on the border.
    assert_twins(report_of(model, (x, y)), report, differ=1)


@pytest.mark.parametrize("kind", under_each(OF_ONE, "sigmoid", "squeezed sigmoid"))
def test_one_output_is_two_classes(two, kind):
    x, y, z, report = two
    model = OF_ONE[kind]()
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)
    assert Classifier(model).num_classes == 2
    assert_twins(report_of(model, (x, y), eps=0.06), report, differ=1)


@pytest.mark.integration
@pytest.mark.parametrize("recipe", [[], [layers.Activation("linear", dtype="float32")]])
def test_mixed_precision(four, recipe):
    x, y, z, report = four
    model = functional(
        layers.Dense(4, "softmax", dtype="mixed_float16"),
        *recipe,
        policy="mixed_float16",
    )
    # float16 has 11 bits: logits of up to 4 are off by a few thousandths.
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-2)
    assert_twins(report_of(model, (x, y)), report, differ=1)


@pytest.mark.seam
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("last", [layers.Identity, layers.Flatten])
def test_softmax_is_seen_in_half_precision(four, policy, last):
    # bfloat16 has 8 bits: sums of probabilities are off by a hundredth.
    model = functional(
        layers.Dense(4, "softmax", dtype=policy), last(dtype=policy), policy=policy
    )
    assert not Classifier(model).from_logits
    x, y, z, _ = four
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=0.1)
    FGSM(eps=0.1)(model, x, y)


@pytest.mark.parametrize("activation", under_each([None, "softmax"], "softmax"))
def test_integer_input_gets_float_images(activation):
    x = np.random.default_rng(0).integers(0, 256, (N, *SHAPE)).astype("uint8")
    twin, model = rescaled(), rescaled(activation, dtype="uint8")
    y = to_numpy(twin(x.astype("float32"))).argmax(-1)
    y[:6] = (y[:6] + 1) % 4
    between = x.astype("float32") * np.float32(0.99)
    np.testing.assert_allclose(
        to_numpy(logits_of(model)(between)), to_numpy(twin(between)), atol=1e-5
    )
    a, b = (
        report_of(m, (x, y), eps=0.03 * 255, bounds=(0, 255)) for m in (model, twin)
    )
    assert Classifier(model).takes_whole_numbers
    assert_twins(a, b, differ=1)


def pooled(size, activation=None):
    inputs = keras.Input((size, size, 1))
    value = layers.Conv2D(12, 3, activation="relu")(inputs)
    value = layers.GlobalAveragePooling2D()(value)
    return keras.Model(inputs, layers.Dense(4, activation)(value))


@pytest.mark.integration
def test_open_sizes_take_images_of_several():
    rng = np.random.default_rng(0)
    model = pooled(None, "softmax")
    kernel, bias, last, _ = model.get_weights()
    last = rng.normal(0, 8, last.shape).astype("float32")
    model.set_weights([rng.normal(0, 1, kernel.shape), bias, last, np.zeros(4)])
    assert Classifier(model).input_shape == (None, None, 1)
    for size in (8, 11):
        twin = pooled(size)
        twin.set_weights(model.get_weights())
        x = rng.random((N, size, size, 1)).astype("float32")
        z = to_numpy(twin(x))
        # Balanced, since a mean over pixels differs little from image to image.
        bias = -np.median(z, axis=0)
        weights = [*model.get_weights()[:3], model.get_weights()[3] + bias]
        model.set_weights(weights)
        twin.set_weights(weights)
        y = to_numpy(twin(x)).argmax(-1)
        y[:6] = (y[:6] + 1) % 4
        np.testing.assert_allclose(
            to_numpy(logits_of(model)(x)), to_numpy(twin(x)), atol=1e-4
        )
        a, b = (report_of(m, (x, y), eps=0.01) for m in (model, twin))
        assert_twins(a, b, differ=1)


def several(inputs=1, outputs=1):
    images = [keras.Input((3,)) for _ in range(inputs)]
    first = layers.Add()(images) if inputs > 1 else images[0]
    return keras.Model(images, [layers.Dense(3)(first) for _ in range(outputs)])


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


OFF = "a ReLU hides .* take it off"

REFUSED = {
    "relu activation": (lambda: sequential(dense("relu")), OFF),
    "ReLU layer": (lambda: sequential(layers.Dense(4), layers.ReLU()), OFF),
    "ops.relu": (lambda: functional(layers.Dense(4), ops.relu), OFF),
    "sigmoids": (lambda: sequential(dense("sigmoid")), "activation sigmoid; several"),
    "tanh": (lambda: sequential(dense("tanh")), "the activation tanh"),
    "outputs": (lambda: several(outputs=2), "2 outputs"),
    "inputs": (lambda: several(inputs=2), "2 inputs"),
    "not built": (unbuilt, "`model` must be built.*Received: model=sequential"),
    "no model": (lambda: layers.Dense(3), "Received: model=<Dense"),
    "no object of Keras": (lambda: "best.keras", "Received: model='best.keras'"),
    "ReLU in bfloat16": (
        lambda: sequential(
            layers.Dense(4, dtype="mixed_bfloat16"), layers.ReLU(dtype="mixed_bfloat16")
        ),
        OFF,
    ),
    "rank 3": (
        lambda: keras.Sequential([keras.Input(SHAPE), layers.Reshape((16, 4))]),
        r"an output of \(None, 16, 4\)",
    ),
}


@pytest.mark.parametrize("kind", under_each(REFUSED, "ReLU in bfloat16"))
def test_refused_in_one_line(kind):
    make, received = REFUSED[kind]
    x, y = np.random.default_rng(0).random((8, *SHAPE), "float32"), np.zeros(8, int)
    with pytest.raises(InputError, match=received) as error:
        FGSM(eps=0.1)(make(), x, y)
    assert "\n" not in str(error.value)


@pytest.mark.seam
def test_an_activation_taken_off_later_is_seen(four):
    x, _, z, _ = four
    model = functional(dense("softmax"))
    assert not Classifier(model).from_logits
    model.layers[-1].activation = keras.activations.linear
    assert Classifier(model).from_logits
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)


@pytest.mark.seam
def test_a_model_that_was_changed_is_looked_at_anew(four):
    x, y, *_ = four
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), layers.Flatten(), layers.Dense(8), layers.Dense(4)]
    )
    attack = FGSM(eps=0.1)

    def agrees():
        z = to_numpy(model(x))
        np.testing.assert_allclose(Classifier(model).predict(x), z, atol=1e-5)
        x_adv = to_numpy(attack(model, x, y))
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        np.testing.assert_allclose(x_adv, to_numpy(attack(twin, x, y)), atol=1e-5)

    agrees()
    model.pop()
    model.add(layers.Dense(4))  # exchanged: seen at once
    agrees()
    model.layers[1].activation = keras.activations.tanh  # seen after `compile`
    model.compile("adam", "mse")
    agrees()


@pytest.mark.seam
def test_an_ending_is_found_within_compiled_code_too():
    model = functional(layers.Dense(4, library_softmax()))
    x = np.random.default_rng(0).random((5, *SHAPE), "float32")
    seen = []

    class Looking(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = model

        def call(self, images):
            seen.append(Classifier(model).from_logits)
            return self.inner(images)

    Looking().predict(x, verbose=0)
    assert seen and not any(seen)


def ends_in_softmax(name):
    dense = keras.layers.Dense
    if name == "layer":
        layers = [dense(5), dense(4), keras.layers.Softmax()]
    elif name == "activation":
        layers = [dense(5), dense(4), keras.layers.Activation("softmax")]
    else:
        layers = [dense(5, activation="relu"), dense(4, activation="softmax")]
    model = keras.Sequential([keras.Input((6,)), *layers])
    if name == "functional":
        return keras.Model(model.inputs, model.outputs)
    if name == "nested":
        return keras.Sequential([keras.Input((6,)), dense(6), model])
    if name == "operation":
        return keras.Model(model.inputs, ops.softmax(dense(4)(model.layers[0].output)))
    return model


@pytest.mark.parametrize(
    "name",
    ["sequential", "functional", "layer", "activation", "operation", "nested"],
)
def test_logits_of_softmax_models(name):
    model = ends_in_softmax(name)
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    before = model.predict(x, verbose=0)
    logits = to_numpy(logits_of(model)(x))
    np.testing.assert_allclose(ops.softmax(logits), before, atol=1e-6)
    assert not np.allclose(logits, before)
    # Looking for the logits has left the model as it was.
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_logits_of_refuses_what_hides_them():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "sigmoid")])
    with pytest.raises(InputError, match="activation sigmoid"):
        logits_of(model)
    with pytest.raises(InputError, match="model=3"):
        logits_of(3)
    a = keras.Input((3,))
    two = keras.Model(a, [keras.layers.Dense(3)(a), keras.layers.Dense(3)(a)])
    with pytest.raises(InputError, match="2 outputs"):
        logits_of(two)

    class Hidden(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="softmax")

        def call(self, x):
            return self.dense(x)

    hidden = Hidden()
    hidden(np.zeros((2, 3), "float32"))
    with pytest.raises(InputError, match="looks like probabilities"):
        FGSM(eps=0.1)(hidden, np.zeros((2, 3), "float32"), np.zeros(2, int))

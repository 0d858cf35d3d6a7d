"""What attacks see of a model: each kind is evaluated as its plain twin is."""

import functools
import gc
import random
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy

from keras_gce import losses
from keras_gce.attacks import APGD, BIM, FGSM, PGD, CarliniWagnerL2, Square
from keras_gce.classifier import Classifier, logits_of
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.cleverhans import CleverHansAttack

N, SHAPE, HIDDEN = 60, (8, 8, 1), 12
SPARSE = keras.losses.SparseCategoricalCrossentropy


def library_softmax():
    """The softmax of the library under Keras, which knows nothing of Keras."""
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow

        return tensorflow.nn.softmax
    if name == "jax":
        import jax

        return jax.nn.softmax
    import torch

    return functools.partial(torch.softmax, dim=-1)


def weights(classes, seed=0):
    """Weights of a network whose classes are balanced on images around grey."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (64, HIDDEN)).astype("float32")
    last = rng.normal(0, 1, (HIDDEN, classes)).astype("float32")
    return [
        kernel,
        -kernel.sum(0) / 2,
        last,
        rng.normal(0, 0.1, classes).astype("float32"),
    ]


FOUR = weights(4)
ONE = weights(1, seed=1)
ONE[3] = -np.float32(0.4) * np.ones(1, "float32")
# The two-class twin of one output z has the logits [0, z].
TWO = [*ONE[:2], *(np.concatenate([0 * w, w], axis=-1) for w in ONE[2:])]


def hidden(policy=None):
    return [layers.Flatten(), layers.Dense(HIDDEN, "relu", dtype=policy)]


def functional(*end, given=FOUR, first=(), policy=None, dtype="float32"):
    """A functional model of layers and operations, with the given weights."""
    inputs = keras.Input(SHAPE, dtype=dtype)
    value = inputs
    for layer in (*first, *hidden(policy), *end):
        value = layer(value)
    model = keras.Model(inputs, value)
    model.set_weights(given)
    return model


def plain(given):
    return functional(layers.Dense(given[3].size), given=given)


class Subclassed(keras.Model):
    """Its end can't be seen."""

    def __init__(self, *end, given=FOUR):
        super().__init__()
        self.all = [*hidden(), *end]
        self(np.zeros((1, *SHAPE), "float32"))
        self.set_weights(given)

    def call(self, x):
        for layer in self.all:
            x = layer(x)
        return x


class OwnCall(keras.Model):
    """A functional model whose `call` its graph does not say."""

    def call(self, x):
        return super().call(x) * 2.0


def own_call():
    model = plain(FOUR)
    model = OwnCall(model.inputs, model.outputs)
    model.set_weights([*FOUR[:2], FOUR[2] / 2, FOUR[3] / 2])
    return model


def sequential(*end, given=FOUR):
    model = keras.Sequential([keras.Input(SHAPE), *hidden(), *end])
    model.set_weights(given)
    return model


def nested(kind):
    part = [keras.Input((HIDDEN,)), layers.Dense(4, "softmax")]
    if kind == "functional":
        inner = keras.Model(part[0], part[1](part[0]))
    else:
        inner = keras.Sequential(part)
    if kind == "identity":
        return functional(inner, layers.Identity())
    return sequential(inner)


def two_deep():
    inner = keras.Sequential([keras.Input((HIDDEN,)), layers.Dense(4, "softmax")])
    return functional(keras.Sequential([keras.Input((HIDDEN,)), inner]))


def in_structure(kind, softmax=False):
    inputs = keras.Input(SHAPE, name="image")
    first, second = hidden()
    z = layers.Dense(4, "softmax" if softmax else None, name="z")(second(first(inputs)))
    if kind == "input":
        model = keras.Model({"image": inputs}, z)
    else:
        model = keras.Model(inputs, {"dict": {"z": z}, "list": [z]}[kind])
    model.set_weights(FOUR)
    return model


def dense(activation):
    return layers.Dense(4, activation=activation)


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


def data_of(model, seed=0):
    """Images, and the classes that a twin gives them, six of them wrong."""
    x = np.random.default_rng(seed).random((N, *SHAPE), "float32")
    z = to_numpy(model(x))
    y = z.argmax(-1).astype("int32")
    y[:6] = (y[:6] + 1) % z.shape[-1]
    return x, y


def attacks(eps=0.03):
    return [FGSM(eps=eps), BIM(eps=eps, steps=4), PGD(eps=eps, steps=4, seed=1)]


def report_of(model, data, eps=0.03, **options):
    return evaluate(
        model, data, attacks(eps), "crossentropy", progress=False, **options
    )


def assert_twins(report, twin, differ=0):
    np.testing.assert_array_equal(report.clean, twin.clean)
    assert (report.row_robust != twin.row_robust).sum(1).max() <= differ
    # Neither so weak nor so strong that all models would do.
    assert twin.clean_accuracy == 0.9 and 0.1 < twin.worst_case_accuracy < 0.8


@pytest.fixture(scope="module")
def four():
    twin = plain(FOUR)
    x, y = data_of(twin)
    return x, y, to_numpy(twin(x)), report_of(twin, (x, y))


@pytest.fixture(scope="module")
def two():
    twin = plain(TWO)
    x, y = data_of(twin)
    return x, y, to_numpy(twin(x)), report_of(twin, (x, y), eps=0.06)


@pytest.mark.parametrize("kind", OF_FOUR)
def test_models_of_four_classes_are_their_plain_twin(four, kind):
    x, y, z, report = four
    model = OF_FOUR[kind]()
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)
    assert Classifier(model).num_classes == 4
    # Another order of sums may decide one example on the border.
    assert_twins(report_of(model, (x, y)), report, differ=1)


@pytest.mark.parametrize("kind", OF_ONE)
def test_one_output_is_two_classes(two, kind):
    x, y, z, report = two
    model = OF_ONE[kind]()
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)
    assert Classifier(model).num_classes == 2
    assert_twins(report_of(model, (x, y), eps=0.06), report, differ=1)


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


def rescaled(activation=None, **options):
    return functional(
        layers.Dense(4, activation), first=[layers.Rescaling(1 / 255)], **options
    )


@pytest.mark.parametrize("activation", [None, "softmax"])
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


# Refusals


class SubclassedSigmoid(Subclassed):
    def __init__(self):
        super().__init__(layers.Dense(1, "sigmoid"), given=ONE)


def several(inputs=1, outputs=1):
    images = [keras.Input((3,)) for _ in range(inputs)]
    first = layers.Add()(images) if inputs > 1 else images[0]
    return keras.Model(images, [layers.Dense(3)(first) for _ in range(outputs)])


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


def averaged():
    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    return keras.Model(
        inputs, layers.Average()([layers.Dense(4, "softmax")(flat) for _ in range(2)])
    )


def compiled_sigmoid():
    model = SubclassedSigmoid()
    model.compile(loss=keras.losses.BinaryCrossentropy())
    return model


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
    "subclassed softmax": (
        lambda: Subclassed(layers.Dense(4, "softmax")),
        "looks like probabilities",
    ),
    "subclassed sigmoid": (compiled_sigmoid, "looks like probabilities"),
    "average of softmaxes": (averaged, "looks like probabilities"),
    "ReLU in bfloat16": (
        lambda: sequential(
            layers.Dense(4, dtype="mixed_bfloat16"), layers.ReLU(dtype="mixed_bfloat16")
        ),
        OFF,
    ),
    "softmax in bfloat16": (
        lambda: Subclassed(layers.Dense(4, "softmax", dtype="mixed_bfloat16")),
        "looks like probabilities",
    ),
    "rank 3": (
        lambda: keras.Sequential([keras.Input(SHAPE), layers.Reshape((16, 4))]),
        r"an output of \(None, 16, 4\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line(kind):
    make, received = REFUSED[kind]
    x, y = np.random.default_rng(0).random((8, *SHAPE), "float32"), np.zeros(8, int)
    with pytest.raises(InputError, match=received) as error:
        FGSM(eps=0.1)(make(), x, y)
    assert "\n" not in str(error.value)


def test_embedded_tokens_are_refused():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(10, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).integers(0, 10, (8, 6))
    with pytest.raises(InputError, match="rounds them") as error:
        evaluate(
            model, (x, np.zeros(8, int)), FGSM(eps=1, bounds=(0, 9)), progress=False
        )
    assert "\n" not in str(error.value)


class Fails(layers.Layer):
    fails = False

    def call(self, x):
        if self.fails:
            raise RuntimeError("one\ntwo")
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_what_a_model_raises_on_images_is_one_line(make):
    layer, x = Fails(), np.zeros((4, *SHAPE), "float32")
    model = make(layer, layers.Dense(4))
    layer.fails = True
    with pytest.raises(InputError, match="which fails with RuntimeError: ") as error:
        evaluate(model, (x, np.zeros(4, int)), FGSM(eps=0.1), progress=False)
    assert "\n" not in str(error.value)


def test_few_sigmoids_are_known_by_the_loss():
    # Logits of two images may lie in [0, 1] by chance; the loss says what they are.
    model = SubclassedSigmoid()
    model.set_weights([0 * w for w in ONE])
    x, y = np.zeros((2, *SHAPE), "float32"), np.zeros(2, int)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    assert to_numpy(FGSM(eps=0.1)(model, x, y)).shape == x.shape
    model.compile(loss=keras.losses.BinaryCrossentropy())
    with pytest.raises(InputError, match="looks like probabilities"):
        FGSM(eps=0.1)(model, x, y)


def test_one_image_of_positive_logits_is_no_probability():
    model = Subclassed(layers.Dense(4))
    model.set_weights([0 * FOUR[0], 0 * FOUR[1], FOUR[2], np.array([3.0, 2, 1, 0.5])])
    x = np.random.default_rng(0).random((1, *SHAPE), "float32")
    assert to_numpy(FGSM(eps=0.1)(model, x, [0])).shape == x.shape


def test_an_activation_taken_off_later_is_seen(four):
    x, _, z, _ = four
    model = functional(dense("softmax"))
    assert not Classifier(model).from_logits
    model.layers[-1].activation = keras.activations.linear
    assert Classifier(model).from_logits
    np.testing.assert_allclose(to_numpy(logits_of(model)(x)), z, atol=1e-5)


# Nothing is touched


def nodes_of(model):
    return [len(layer._inbound_nodes) for layer in model._flatten_layers()]


TOUCHED = {
    "activation": lambda: functional(dense("softmax")),
    "layer": lambda: functional(layers.Dense(4), layers.Softmax()),
    "nested": lambda: nested("functional"),
    "integer": lambda: rescaled("softmax", dtype="uint8"),
    "dict": lambda: in_structure("input", True),
}


@pytest.mark.parametrize("kind", TOUCHED)
def test_the_model_is_left_as_it_is(four, kind):
    x, y = four[:2]
    model = TOUCHED[kind]()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = [w.copy() for w in model.get_weights()]
    last = getattr(model.layers[-1], "activation", None)
    nodes, policy = nodes_of(model), keras.config.dtype_policy()
    report_of(model, (x, y))
    for attack in (PGD(eps=0.1, steps=2), CarliniWagnerL2(max_iterations=3)):
        attack(model, x, y)
    assert getattr(model.layers[-1], "activation", None) is last
    assert nodes_of(model) == nodes and keras.config.dtype_policy() is policy
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(to_numpy(model.optimizer.iterations)) == 0


def evaluated(model, x, y):
    report_of(model, (x, y))


def attacked(attack):
    return lambda model, x, y: attack(model, x, y)


@pytest.mark.parametrize(
    "act",
    [
        evaluated,
        attacked(PGD(eps=0.1, steps=2, seed=3)),
        attacked(Square(eps=0.1, queries=3, seed=3)),
        pytest.param("cleverhans", id="cleverhans"),
    ],
)
def test_random_streams_go_on_where_they_were(four, act):
    x, y = four[:2]
    if act == "cleverhans":
        if keras.backend.backend() != "tensorflow":
            pytest.skip("CleverHans attacks TensorFlow models")
        act = attacked(CleverHansAttack("pgd", eps=0.1, steps=2, seed=3))
    model = functional(dense("softmax"))

    def draws(between):
        keras.utils.set_random_seed(7)
        first = random.random(), np.random.random(), library_draw()
        between()
        return (
            *first,
            random.getstate(),
            np.random.get_state()[1].tolist(),
            library_draw(),
            float(keras.random.uniform(())),
        )

    assert draws(lambda: act(model, x, y)) == draws(lambda: None)


def library_draw():
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow

        return float(tensorflow.random.uniform(()))
    if name == "torch":
        import torch

        return float(torch.rand(()))
    return 0.0


def test_two_threads_get_what_one_gets(four):
    x, y = four[:2]
    attack, model = PGD(eps=0.1, steps=3, seed=0), functional(dense("softmax"))
    alone = to_numpy(attack(functional(dense("softmax")), x, y))
    found = {}

    def work(i):
        for _ in range(3):
            found.setdefault(i, []).append(to_numpy(attack(model, x, y)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[i]) for i in range(2)] == [3, 3]
    for image in (*found[0], *found[1]):
        np.testing.assert_array_equal(image, alone)


def test_a_classifier_keeps_no_weights(four):
    x, _, z, _ = four
    model = functional(dense("softmax"))
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.predict(x), z, atol=1e-5)
    model.set_weights([0 * w for w in FOUR])
    np.testing.assert_array_equal(classifier.predict(x), np.zeros((N, 4)))
    assert Classifier.of(classifier) is classifier


@pytest.mark.parametrize("kind", TOUCHED)
def test_an_attacked_model_is_freed(four, kind):
    x, y = four[:2]
    model = TOUCHED[kind]()
    model.compile(loss="sparse_categorical_crossentropy")
    FGSM(eps=0.1, loss="training")(model, x, y)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


# The training loss


class Sharpened(SPARSE):
    """A cross-entropy by its class, and another loss by what it does."""

    def call(self, y_true, y_pred):
        return super().call(y_true, 2.0 * y_pred)


def logits_model(loss):
    model = plain(FOUR)
    model.compile(loss=loss)
    return model


def softmax_model(loss):
    model = functional(dense("softmax"))
    model.compile(loss=loss)
    return model


def logit_model(loss, activation=None):
    model = functional(layers.Dense(1, activation), given=ONE)
    model.compile(loss=loss)
    return model


CATEGORICAL = keras.losses.CategoricalCrossentropy
BINARY = keras.losses.BinaryCrossentropy
SAME = {
    "instance": lambda: logits_model(SPARSE(from_logits=True)),
    "categorical": lambda: logits_model(CATEGORICAL(from_logits=True)),
    "reduction": lambda: logits_model(SPARSE(from_logits=True, reduction="sum")),
    "name": lambda: softmax_model("sparse_categorical_crossentropy"),
    "categorical name": lambda: softmax_model("categorical_crossentropy"),
    "function": lambda: softmax_model(keras.losses.sparse_categorical_crossentropy),
    "categorical function": lambda: softmax_model(
        keras.losses.categorical_crossentropy
    ),
    "of softmax": lambda: softmax_model(SPARSE()),
    "list": lambda: softmax_model(["sparse_categorical_crossentropy"]),
    "binary": lambda: logit_model(BINARY(from_logits=True)),
    "binary name": lambda: logit_model("binary_crossentropy", "sigmoid"),
}
OTHER = {
    "smoothing": lambda: logits_model(
        CATEGORICAL(from_logits=True, label_smoothing=0.1)
    ),
    "ignored class": lambda: logits_model(SPARSE(from_logits=True, ignore_class=3)),
    "from_logits": lambda: logits_model(SPARSE()),
    "from_logits of softmax": lambda: softmax_model(SPARSE(from_logits=True)),
    "subclass": lambda: logits_model(Sharpened(from_logits=True)),
    "binary smoothing": lambda: logit_model(
        BINARY(from_logits=True, label_smoothing=0.1)
    ),
    "binary from_logits": lambda: logit_model(BINARY()),
    "not compiled": lambda: plain(FOUR),
}


@pytest.mark.parametrize("kind", SAME)
def test_plain_cross_entropy_is_cross_entropy(kind):
    assert Classifier(SAME[kind]()).is_crossentropy


@pytest.mark.parametrize("kind", OTHER)
def test_other_losses_are_not(kind):
    assert not Classifier(OTHER[kind]()).is_crossentropy


@pytest.mark.parametrize("kind", ["smoothing", "ignored class", "subclass"])
def test_another_loss_is_run_on_its_own(four, kind):
    rows = evaluate(
        OTHER[kind](), four[:2], FGSM(eps=0.03), "adaptive", progress=False
    ).results
    assert [row.loss for row in rows] == ["crossentropy", "training", "margin"]
    # A copied row takes no time.
    assert rows[1].seconds > 0


@pytest.mark.parametrize("kind", ["instance", "name"])
def test_cross_entropy_is_not_run_twice(four, kind):
    rows = evaluate(
        SAME[kind](), four[:2], FGSM(eps=0.03), "adaptive", progress=False
    ).results
    assert rows[1].seconds == 0 and rows[0].seconds > 0


Y = np.array([0, 3, 1, 2], "int32")
Z = np.random.default_rng(3).normal(0, 2, (4, 4)).astype("float32")


def loss_of(model, y=Y, z=Z):
    return to_numpy(Classifier(model).loss(ops.convert_to_tensor(y), z))


def per_example(name):
    return getattr(keras.losses, name)


@pytest.mark.parametrize("make", [logits_model, softmax_model])
@pytest.mark.parametrize(
    "name", ["mean_squared_error", "kl_divergence", "categorical_hinge"]
)
def test_losses_of_a_distribution_get_one_hot_labels(make, name):
    given = Z if make is logits_model else to_numpy(ops.softmax(Z))
    expected = per_example(name)(np.eye(4, dtype="float32")[Y], given)
    np.testing.assert_allclose(loss_of(make(name)), to_numpy(expected), rtol=1e-5)
    instance = {
        "mean_squared_error": keras.losses.MeanSquaredError,
        "kl_divergence": keras.losses.KLDivergence,
        "categorical_hinge": keras.losses.CategoricalHinge,
    }[name]
    np.testing.assert_allclose(loss_of(make(instance())), to_numpy(expected), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_binary_cross_entropy_is_keras_s_for_each_example(smoothing, activation):
    y, z = np.array([0, 1, 1, 0]), np.array([[-2.0], [1.5], [-0.3], [4.0]], "float32")
    loss = BINARY(from_logits=activation is None, label_smoothing=smoothing)
    expected = keras.losses.binary_crossentropy(
        y[:, None].astype("float32"), z, from_logits=True, label_smoothing=smoothing
    )
    found = loss_of(
        logit_model(loss, activation), y, np.concatenate([0 * z, z], axis=1)
    )
    np.testing.assert_allclose(found, to_numpy(expected), rtol=1e-5)


def test_a_softmax_model_s_loss_has_no_flat_places():
    # p = 1 in float32 from a lead of 17 on: from probabilities the loss would be 0.
    z = np.array([[40.0, 0, 0, 0]], "float32")
    found = loss_of(softmax_model("sparse_categorical_crossentropy"), Y[:1] * 0 + 1, z)
    np.testing.assert_allclose(found, [40.0], rtol=1e-6)


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_loss_of_the_user_s_own_gets_labels_as_the_user_has_them(four, one_hot):
    x, y = four[:2]
    shapes = []

    def own(y_true, y_pred):
        shapes.append(len(y_true.shape))
        if len(y_true.shape) == 2:
            return -ops.sum(ops.cast(y_true, "float32") * y_pred, axis=-1)
        return -ops.take_along_axis(y_pred, y_true[:, None], axis=1)[:, 0]

    labels = np.eye(4, dtype="float32")[y] if one_hot else y
    FGSM(eps=0.1, loss="training")(logits_model(own), x, labels)
    assert set(shapes) == {2 if one_hot else 1}


@pytest.mark.parametrize("structure", [list, dict])
def test_a_list_or_dict_of_one_loss_is_that_loss(four, structure):
    model = in_structure("dict", True)
    loss = losses.GuidedComplementEntropy()
    model.compile(loss={"z": loss} if structure is dict else [loss])
    expected = loss_of(softmax_model(losses.GuidedComplementEntropy()))
    np.testing.assert_allclose(loss_of(model), expected, rtol=1e-6)


def test_of_several_losses_none_is_the_training_loss(four):
    model = plain(FOUR)
    model.compile(loss=[SPARSE(from_logits=True), "mse"])
    report = evaluate(model, four[:2], FGSM(eps=0.03), "adaptive", progress=False)
    assert [row.loss for row in report.results] == ["crossentropy", "margin"]
    assert "compiled with 2 losses" in report.skipped[0]
    assert "compiled with 2 losses" in report.to_markdown()
    with pytest.raises(InputError, match="must be compiled with one loss"):
        evaluate(model, four[:2], FGSM(eps=0.03), "paper", progress=False)


def test_an_uncompiled_model_says_what_is_left_out(four):
    report = evaluate(plain(FOUR), four[:2], FGSM(eps=0.03), progress=False)
    assert [row.loss for row in report.results] == ["crossentropy", "margin"]
    assert "not compiled" in report.skipped[0]


class BuiltByHand(Subclassed):
    """It has weights, but no call has told Keras a shape."""

    def __init__(self):
        keras.Model.__init__(self)
        self.all = [*hidden(), layers.Dense(4)]
        shape = (None, *SHAPE)
        for layer in self.all:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True
        self.set_weights(FOUR)


@pytest.mark.parametrize("make", [own_call, BuiltByHand])
def test_the_training_loss_of_a_model_whose_shapes_are_not_known(four, make):
    model = make()
    model.compile(loss=SPARSE(from_logits=True))
    report = evaluate(model, four[:2], FGSM(eps=0.03), "adaptive", progress=False)
    assert [row.loss for row in report.results] == [
        "crossentropy",
        "training",
        "margin",
    ]


def test_a_loss_that_does_not_fit_is_refused_before_any_attack(four):
    def fails(y_true, y_pred):
        raise ValueError("six\nclasses")

    with pytest.raises(InputError, match="ValueError: six classes") as error:
        evaluate(logits_model(fails), four[:2], FGSM(eps=0.1), progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "first,second",
    [
        (SPARSE(from_logits=True), CATEGORICAL(from_logits=True, label_smoothing=0.9)),
        (
            losses.GuidedComplementEntropy(alpha=1e-3, from_logits=True),
            losses.GuidedComplementEntropy(alpha=10.0, from_logits=True),
        ),
        ("mse", "categorical_hinge"),
    ],
    ids=["crossentropy", "alpha", "names"],
)
def test_recompiling_changes_what_the_training_loss_is(four, first, second):
    x, y = four[:2]
    attack = PGD(eps=0.1, steps=2, seed=0, loss="training", norm="l2")
    model = logits_model(first)
    found = []
    for loss in (first, second, first):
        model.compile(loss=loss)
        found.append(to_numpy(attack(model, x, y)))
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_a_model_that_was_changed_is_looked_at_anew(four):
    x, y, *_ = four
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), layers.Flatten(), layers.Dense(8), layers.Dense(4)]
    )
    attack = BIM(eps=0.1, steps=3)

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


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_called_directly_leave_places_without_a_gradient(norm):
    # As in cases/nan_gradient.py, sRGB at black pixels, for calls that look at no
    # gradient before: the first step off the spot, the others from beside it.
    class Encode(layers.Layer):
        def __init__(self, safe):
            super().__init__()
            self.safe = safe

        def call(self, v):
            u = ops.maximum(v, 0.0031308) if self.safe else v
            curved = 1.055 * u ** (1 / 2.4) - 0.055
            return ops.where(v > 0.0031308, curved, 12.92 * v)

    x = np.random.default_rng(0).random((N, *SHAPE), "float32")
    x[x < 0.5] = 0
    left = {}
    for safe in (True, False):
        model = functional(layers.Dense(4), first=[Encode(safe)])
        y = to_numpy(model(x)).argmax(-1)
        for attack in (
            PGD(eps=0.05 if norm == "linf" else 0.4, norm=norm, steps=20, seed=0),
            APGD(eps=0.05 if norm == "linf" else 0.4, norm=norm, steps=20, seed=0),
        ):
            x_adv = to_numpy(attack(model, x, y))
            right = to_numpy(model(x_adv)).argmax(-1) == y
            left.setdefault(attack.name, []).append(right.mean())
    for safe, careless in left.values():
        assert safe < 0.7 and abs(careless - safe) <= 0.08


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

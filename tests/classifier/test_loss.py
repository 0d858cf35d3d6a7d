"""The loss that a model was compiled with, as attacks ascend it."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy as to_numpy
from twins import (
    FOUR,
    ONE,
    SHAPE,
    Subclassed,
    dense,
    functional,
    hidden,
    in_structure,
    own_call,
    plain,
)

from keras_gce import losses
from keras_gce.attacks import BIM, FGSM
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate

SPARSE = keras.losses.SparseCategoricalCrossentropy


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


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["smoothing", "ignored class", "subclass"])
def test_another_loss_is_run_on_its_own(four, kind):
    rows = evaluate(
        OTHER[kind](),
        four[:2],
        FGSM(eps=0.03),
        "adaptive",
        progress=False,
        diagnostics=False,
    ).results
    assert [row.loss for row in rows] == ["crossentropy", "training", "margin"]
    # A copied row takes no time.
    assert rows[1].seconds > 0


@pytest.mark.parametrize("kind", ["instance", "name"])
def test_cross_entropy_is_not_run_twice(four, kind):
    rows = evaluate(
        SAME[kind](),
        four[:2],
        FGSM(eps=0.03),
        "adaptive",
        progress=False,
        diagnostics=False,
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
    report = evaluate(
        model, four[:2], FGSM(eps=0.03), "adaptive", progress=False, diagnostics=False
    )
    assert [row.loss for row in report.results] == ["crossentropy", "margin"]
    assert "compiled with 2 losses" in report.skipped[0]
    assert "compiled with 2 losses" in report.to_markdown()
    with pytest.raises(InputError, match="must be compiled with one loss"):
        evaluate(
            model, four[:2], FGSM(eps=0.03), "paper", progress=False, diagnostics=False
        )


def test_an_uncompiled_model_says_what_is_left_out(four):
    report = evaluate(
        plain(FOUR), four[:2], FGSM(eps=0.03), progress=False, diagnostics=False
    )
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
    report = evaluate(
        model, four[:2], FGSM(eps=0.03), "adaptive", progress=False, diagnostics=False
    )
    assert [row.loss for row in report.results] == [
        "crossentropy",
        "training",
        "margin",
    ]


def test_a_loss_that_does_not_fit_is_refused_before_any_attack(four):
    def fails(y_true, y_pred):
        raise ValueError("six\nclasses")

    with pytest.raises(InputError, match="ValueError: six classes") as error:
        evaluate(
            logits_model(fails),
            four[:2],
            FGSM(eps=0.1),
            progress=False,
            diagnostics=False,
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "first,second",
    [
        (SPARSE(from_logits=True), CATEGORICAL(from_logits=True, label_smoothing=0.9)),
        pytest.param(
            losses.GuidedComplementEntropy(alpha=1e-3, from_logits=True),
            losses.GuidedComplementEntropy(alpha=10.0, from_logits=True),
            marks=pytest.mark.seam,
        ),
        ("mse", "categorical_hinge"),
    ],
    ids=["crossentropy", "alpha", "names"],
)
def test_recompiling_changes_what_the_training_loss_is(four, first, second):
    x, y = four[:2]
    attack = BIM(eps=0.1, steps=2, loss="training", norm="l2")
    model = logits_model(first)
    found = []
    for loss in (first, second, first):
        model.compile(loss=loss)
        found.append(to_numpy(attack(model, x, y)))
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])

"""What a `Classifier` leaves as it was, and what it keeps."""

import gc
import random
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as to_numpy
from twins import (
    FOUR,
    SHAPE,
    N,
    Subclassed,
    dense,
    functional,
    in_structure,
    nested,
    report_of,
    rescaled,
    under_each,
)

from keras_gce.attacks import FGSM, PGD, CarliniWagnerL2, Square
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate
from keras_gce.evaluation.cleverhans import CleverHansAttack


def nodes_of(model):
    return [len(layer._inbound_nodes) for layer in model._flatten_layers()]


TOUCHED = {
    "activation": lambda: functional(dense("softmax")),
    "layer": lambda: functional(layers.Dense(4), layers.Softmax()),
    "nested": lambda: nested("functional"),
    "integer": lambda: rescaled("softmax", dtype="uint8"),
    "dict": lambda: in_structure("input", True),
}


@pytest.mark.parametrize("kind", under_each(TOUCHED, "activation", "integer"))
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


def library_draw():
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow

        return float(tensorflow.random.uniform(()))
    if name == "torch":
        import torch

        return float(torch.rand(()))
    return 0.0


@pytest.mark.seam
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


@pytest.mark.seam
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


@pytest.mark.seam
def test_a_classifier_keeps_no_weights(four):
    x, _, z, _ = four
    model = functional(dense("softmax"))
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.predict(x), z, atol=1e-5)
    model.set_weights([0 * w for w in FOUR])
    np.testing.assert_array_equal(classifier.predict(x), np.zeros((N, 4)))
    assert Classifier.of(classifier) is classifier


@pytest.mark.parametrize("kind", under_each(TOUCHED, "activation"))
def test_an_attacked_model_is_freed(four, kind):
    x, y = four[:2]
    model = TOUCHED[kind]()
    model.compile(loss="sparse_categorical_crossentropy")
    FGSM(eps=0.1, loss="training")(model, x, y)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


class Fails(layers.Layer):
    fails = False

    def call(self, x):
        if self.fails:
            raise RuntimeError("one\ntwo")
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.seam
@pytest.mark.parametrize("make", [functional, Subclassed])
def test_what_a_model_raises_on_images_is_one_line(make):
    layer, x = Fails(), np.zeros((4, *SHAPE), "float32")
    model = make(layer, layers.Dense(4))
    layer.fails = True
    with pytest.raises(InputError, match="which fails with RuntimeError: ") as error:
        evaluate(
            model,
            (x, np.zeros(4, int)),
            FGSM(eps=0.1),
            progress=False,
            diagnostics=False,
        )
    assert "\n" not in str(error.value)

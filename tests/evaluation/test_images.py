"""Data in the forms that `fit` takes."""

import keras
import numpy as np
import pytest

from keras_gce.attacks import FGSM, PGD
from keras_gce.datasets import Split
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate


def refused(received, check, *args, **kwargs):
    with pytest.raises(InputError, match=received) as error:
        check(*args, **kwargs)
    assert "\n" not in str(error.value)


def linear(classes=3, first=()):
    rng = np.random.default_rng(0)
    flat = [keras.layers.Flatten(), keras.layers.Dense(classes)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *first, *flat])
    kernel = rng.normal(0, 1, (64, classes)).astype("float32")
    model.set_weights([kernel, -kernel.sum(0) / 2])
    return model


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.x) // 7)

    def __getitem__(self, i):
        part = slice(7 * i, 7 * i + 7)
        return self.x[part], self.y[part]


def tf_data(x, y, weights=False):
    tensorflow = pytest.importorskip("tensorflow")
    parts = (x, y, np.ones(len(x))) if weights else (x, y)
    return tensorflow.data.Dataset.from_tensor_slices(parts)


def torch_data(x, y):
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    pair = torch.as_tensor(x).requires_grad_(), torch.as_tensor(y)
    return data.DataLoader(data.TensorDataset(*pair), batch_size=7)


def in_batches(x, y):
    return ((x[i : i + 7], y[i : i + 7]) for i in range(0, len(x), 7))


class Endless(keras.utils.PyDataset):
    def __getitem__(self, i):
        return np.zeros((7, 8, 8, 1)), np.zeros(7, int)

    @property
    def num_batches(self):
        return None


FORMS = {
    "list": lambda x, y: [x, y],
    "plain lists": lambda x, y: (x.tolist(), y.tolist()),
    "Split": Split,
    "batches of a Split": lambda x, y: Split(x, y).batches(7),
    "tf.data": lambda x, y: tf_data(x, y).batch(7),
    "tf.data of examples": tf_data,
    "tf.data with weights": lambda x, y: tf_data(x, y, True).batch(7),
    "tf.data of a dict": lambda x, y: (
        tf_data(x, y).batch(7).map(lambda a, b: ({"image": a}, {"label": b}))
    ),
    "PyDataset": Sequence,
    "DataLoader": torch_data,
    "generator": in_batches,
    "generator with weights": lambda x, y: (
        (*part, np.ones(len(part[0]))) for part in in_batches(x, y)
    ),
    "generator of examples": lambda x, y: zip(x, y, strict=True),
    "list of batches": lambda x, y: list(in_batches(x, y)),
    "list of two batches": lambda x, y: [(x[:20], y[:20]), (x[20:], y[20:])],
    "one-hot": lambda x, y: (x, np.eye(3)[y]),
    "batches of one-hot": lambda x, y: in_batches(x, np.eye(3)[y]),
    "floats": lambda x, y: (x, y.astype("float32")),
    "columns": lambda x, y: (x, y[:, None]),
    "float64 images": lambda x, y: (x.astype("float64"), y),
    "batches of dicts": lambda x, y: (({"image": a}, b) for a, b in in_batches(x, y)),
}


@pytest.fixture(scope="module")
def twin():
    model = linear()
    x = np.random.default_rng(1).random((40, 8, 8, 1), "float32")
    y = np.argmax(model.predict(x, verbose=0), -1)
    y[:4] = (y[:4] + 1) % 3
    # One model for all forms, so that its attack is traced once.
    report = evaluate(
        model, (x, y), FGSM(eps=0.02), "crossentropy", progress=False, diagnostics=False
    )
    assert 0.2 < report.worst_case_accuracy < report.clean_accuracy == 0.9
    return model, x, y, report


@pytest.mark.parametrize("form", FORMS)
def test_data_of_any_form(twin, form):
    model, x, y, expected = twin
    data = FORMS[form](x, y)
    report = evaluate(
        model, data, FGSM(eps=0.02), "crossentropy", progress=False, diagnostics=False
    )
    np.testing.assert_array_equal(report.row_robust, expected.row_robust)
    assert report.data == expected.data


@pytest.mark.parametrize(
    "make,received",
    [
        (lambda x, y: tf_data(x, y).batch(7).repeat(), "an infinite Dataset"),
        (lambda x, y: Endless(), "must be finite"),
        (lambda x, y: {"x": x, "y": y}, "Received: dict"),
        (lambda x, y: "images.npz", "Received: str"),
        (lambda x, y: 3, "Received: int"),
        (lambda x, y: iter(()), "at least one image. Received: none"),
        (lambda x, y: iter([x[:4], x[4:]]), "a batch that is a ndarray"),
        (lambda x, y: iter([((x, x), y)]), "Received: 2 and 1"),
        (lambda x, y: (x, y[:-1]), r"y.shape=\(39,\)"),
        (lambda x, y: x, "a batch that is a ndarray"),
    ],
)
def test_data_that_is_none(twin, make, received):
    model, x, y, _ = twin
    refused(
        received, evaluate, model, make(x, y), FGSM(eps=0.1), "paper", progress=False
    )


@pytest.mark.parametrize("images", ["float32", "uint8"])
def test_bounds_bring_a_split_into_their_unit(twin, images):
    model, x, y, _ = twin
    x = (x * 255).round()
    split = Split(x.astype("uint8") if images == "uint8" else x / 255, y)
    of_255 = linear(first=[keras.layers.Rescaling(1 / 255)])
    attack = PGD(eps=0.02, steps=3, seed=0)
    a = evaluate(
        model, split, attack, "crossentropy", progress=False, diagnostics=False
    )
    b = evaluate(
        of_255,
        split,
        PGD(eps=0.02 * 255, steps=3, seed=0),
        "crossentropy",
        bounds=(0, 255),
        progress=False,
        diagnostics=False,
    )
    np.testing.assert_array_equal(a.row_robust, b.row_robust)
    assert 0.2 < a.worst_case_accuracy < a.clean_accuracy
    assert b.results[0].max_linf <= 0.02 * 255

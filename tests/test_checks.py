"""What is asked of numbers, seeds, images and labels."""

import numpy as np
import pytest
from networks import balanced

from keras_gce.attacks import PGD, Square
from keras_gce.checks import (
    check_images,
    check_integer,
    check_labels,
    check_number,
    check_seed,
)
from keras_gce.errors import InputError

BOUNDS = (0, 1)


def refused(received, check, *args, **kwargs):
    with pytest.raises(InputError, match=received) as error:
        check(*args, **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value", [-0.1, float("nan"), float("inf"), True, "0.1", None, 1j, np.True_]
)
def test_numbers(value):
    refused(f"eps={value!r}".replace("(", r"\("), check_number, "eps", value, least=0)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.1), np.int64(3)])
def test_numbers_of_any_library_are_taken(value):
    check_number("eps", value, least=0)


def test_the_range_is_in_the_message():
    refused(r"in \[0, 1\]. Received: share=2", check_number, "share", 2, 0, 1)
    refused(r"an integer in \[1, 9\]. Received: k=10", check_integer, "k", 10, 1, 9)
    refused("an integer >= 1. Received: steps=1.0", check_integer, "steps", 1.0, 1)
    refused("steps=True", check_integer, "steps", True, 1)


@pytest.mark.parametrize("seed", [-1, 2**31, 2**40, 1.0, True, "3"])
def test_seeds_that_no_tensor_holds(seed):
    refused(f"seed={seed!r}", check_seed, seed)
    for attack in (PGD, Square):
        refused(f"seed={seed!r}", attack, eps=0.1, seed=seed)


def test_the_greatest_seed():
    check_seed(2**31 - 1)
    model = balanced()
    x = np.full((2, 8, 8, 1), 0.5, "float32")
    PGD(eps=0.1, steps=1, seed=2**31 - 1)(model, x, np.zeros(2, int))


IMAGES = [
    ((8, 8, 1), (8, 8, 1), r"shape=\(8, 8, 1\), without the batch axis; .* x\[None\]"),
    ((5, 3, 8, 8), (8, 8, 3), "channels first, and the model's last"),
    ((5, 8, 8, 3), (3, 8, 8), "channels last, and the model's first"),
    ((5, 8, 8), (8, 8, 1), r"without the axis of the channel.* x\[\.\.\., None\]"),
    ((5, 8, 9, 1), (8, 8, 1), r"x.shape=\(5, 8, 9, 1\)$"),
    ((5, 64), (8, 8, 1), r"x.shape=\(5, 64\)$"),
    ((5, 3, 9, 7), (None, None, 3), "channels first, and the model's last"),
    ((5,), (3,), r"shape \(N, 3\).*x.shape=\(5,\)$"),
]


@pytest.mark.parametrize("received,shape,message", IMAGES)
def test_shapes(received, shape, message):
    refused(message, check_images, np.zeros(received), BOUNDS, shape)


def test_the_shape_that_is_wanted_is_named():
    refused(
        r"shape \(N, any, any, 1\), the model's",
        check_images,
        np.zeros((5, 8, 8, 3)),
        BOUNDS,
        (None, None, 1),
    )


@pytest.mark.parametrize(
    "x,received",
    [
        (np.full((2, 3), np.nan), "values from nan to nan"),
        (np.full((2, 3), np.inf), "values from inf"),
        (np.full((2, 3), 255), "values from 255.0 to 255.0"),
        (np.full((2, 3), -0.5), "values from -0.5"),
        (np.zeros((0, 3)), r"x.shape=\(0, 3\)"),
        (np.zeros((2, 0)), r"x.shape=\(2, 0\)"),
        (np.array([["a"]]), "x.dtype=<U1"),
        (np.zeros((2, 3), complex), "x.dtype=complex128"),
        (np.array([None, 3]), "x.dtype=object"),
        (0.5, r"x.shape=\(\)"),
        (np.zeros(3), r"x.shape=\(3,\)"),
    ],
)
def test_values(x, received):
    refused(received, check_images, x, BOUNDS)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_images_become_float32(dtype):
    x = check_images(np.ones((2, 3), dtype), BOUNDS)
    assert x.dtype == np.float32 and (x == 1).all()


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1],
        [0.0, 2.0, 1.0],
        [[0], [2], [1]],
        [[0.0], [2.0], [1.0]],
        np.eye(3)[[0, 2, 1]],
        np.eye(3, dtype=int)[[0, 2, 1]],
        np.eye(3, dtype=bool)[[0, 2, 1]],
        np.array([0, 2, 1], "uint8"),
    ],
    ids=range(8),
)
def test_labels_in_all_their_forms(y):
    y = check_labels(y, 3, 3)
    assert y.dtype == np.int32 and y.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "y,received",
    [
        ([1, 2, 3], "labels from 1 to 3; do they start at 1"),
        ([0, 2, 3], "labels from 0 to 3$"),
        ([-1, 0, 1], "labels from -1 to 1$"),
        ([1.0, 2.0, 3.0], "labels from 1 to 3; do they start at 1"),
        ([0.5, 1, 2], "y.dtype=float64"),
        ([0, 1], r"y.shape=\(2,\)"),
        (["a", "b", "c"], "y.dtype=<U1"),
        ([0, np.nan, 1], "y.dtype=float64"),
        (np.full((3, 3), 1 / 3), "Received: y="),
        (np.zeros((3, 3)), "Received: y="),
        (np.zeros((3, 2)), r"y.shape=\(3, 2\)"),
        ([0, None, 1], "y.dtype=object"),
    ],
    ids=range(12),
)
def test_labels_that_are_none(y, received):
    refused(received, check_labels, y, 3, 3)


def test_one_example_of_one_column_is_its_label():
    # Of two classes and one example (1, 2) is one-hot, (1, 1) a label.
    assert check_labels([[1]], 1, 2).tolist() == [1]
    assert check_labels([[0, 1]], 1, 2).tolist() == [1]

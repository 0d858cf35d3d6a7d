"""Plain models of four and of two classes, and what attacks make of them."""

import pytest
from keras.ops import convert_to_numpy as to_numpy
from twins import FOUR, TWO, data_of, plain, report_of


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

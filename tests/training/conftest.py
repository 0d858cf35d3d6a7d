"""Data that the tests of this folder share."""

import pytest


@pytest.fixture(scope="session")
def images(digits):
    return digits.train.take(64).arrays()

"""What the tests of recipes share."""

import pytest
from recipes import tiny

from keras_gce import datasets
from keras_gce.recipes import networks
from keras_gce.recipes.epochs import Epochs


@pytest.fixture(scope="module", autouse=True)
def soon():
    """A smaller network; the tests of `networks` look at the right ones first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.MODELS, "small_cnn", tiny.dense)
        yield


@pytest.fixture(scope="session")
def data():
    return tiny.data()


@pytest.fixture
def few(data, monkeypatch):
    """`datasets.load` gives these few digits."""
    monkeypatch.setattr(datasets, "load", lambda name, **settings: data)


@pytest.fixture
def epochs(monkeypatch):
    """A list of the epochs that are trained, if only in part."""
    numbers, stretches = [], Epochs.stretches

    def counted(self, epoch, step=0):
        numbers.append(epoch)
        return stretches(self, epoch, step)

    monkeypatch.setattr(Epochs, "stretches", counted)
    return numbers

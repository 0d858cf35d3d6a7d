"""What the tests of recipes share."""

import pytest
from recipes import tiny

from keras_gce import datasets
from keras_gce.recipes import networks


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
    """A list that grows by one for each epoch that is trained."""
    seeds, batches = [], datasets.Split.batches

    def counted(split, *args, shuffle=False, **settings):
        seeds.extend([settings.get("seed")] * shuffle)
        return batches(split, *args, shuffle=shuffle, **settings)

    monkeypatch.setattr(datasets.Split, "batches", counted)
    return seeds

"""The package: what it needs, and what its import loads."""

import subprocess
import sys

import numpy as np
import pytest

from keras_gce import features, plotting
from keras_gce.errors import InputError


@pytest.mark.parametrize("module", ["matplotlib.figure", "sklearn.manifold"])
def test_a_missing_package_is_named(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "keras_gce\[plot\]"'):
        plotting.embedding(plotting.tsne(np.eye(6)), np.arange(6))


LIGHT = """
import sys
import keras_gce.plotting
heavy = {"keras", "tensorflow", "matplotlib", "sklearn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_features_are_known_by_their_names_here_too():
    for name in ("penultimate_features", "silhouette_values", "tsne"):
        assert getattr(plotting, name) is getattr(features, name)


def test_importing_it_loads_nothing_heavy():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)

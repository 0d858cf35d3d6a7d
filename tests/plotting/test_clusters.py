"""The classes in a model's features: on a plane, and in numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_gce import plotting
from keras_gce.errors import InputError


def test_embedding_tells_classes_apart_without_colour(texts):
    points = np.random.default_rng(0).normal(size=(200, 2))
    labels = np.arange(200) % 10
    figure = plotting.embedding(points, labels, list("abcdefghij"), title="digits")
    (ax,) = figure.axes
    assert len(ax.collections) == 10
    markers = {c.get_paths()[0].vertices.tobytes() for c in ax.collections}
    assert len(markers) == 10
    for text in (*"abcdefghij", "digits", "t-SNE 1 (no unit)"):
        assert text in texts(figure)
    # Of twelve classes, the two smallest are left out, and it is said.
    labels = np.concatenate([labels, [10, 11]])
    points = np.concatenate([points, [(0, 0), (1, 1)]])
    figure = plotting.embedding(points, labels)
    assert len(figure.axes[0].collections) == 10
    assert "10 most frequent of 12 classes" in texts(figure)
    into = Figure().subplots()
    assert plotting.embedding(points, labels, ax=into) is into.figure
    with pytest.raises(InputError, match=r"\(201, 2\)"):
        plotting.embedding(points[1:], labels)


@pytest.mark.integration
def test_silhouettes_show_each_class_and_all(texts):
    labels = np.array([0, 0, 1, 1, 1])
    values = {
        "XE": np.array([0.1, 0.3, 0.0, 0.6, 0.3]),
        "GCE": np.array([-0.5, -0.5, 0.5, 0.5, 0.5]),
    }
    figure = plotting.silhouettes(values, labels, ["cat", "dog"])
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [0.26, 0.2, 0.3])
    np.testing.assert_allclose(ax.get_lines()[1].get_xdata(), [0.1, -0.5, 0.5])
    for text in ("XE: mean 0.26", "GCE: mean 0.10", "cat", "all", "silhouette"):
        assert text in texts(figure)
    assert "all 12 classes" in texts(
        plotting.silhouettes({"a": np.zeros(12)}, np.arange(12))
    )
    with pytest.raises(InputError, match=r"'XE' of shape \(5,\)"):
        plotting.silhouettes(values, labels[:4])


def test_embeddings_stand_above_their_silhouettes(texts):
    labels = np.arange(30) % 3
    planes = {name: np.random.default_rng(0).normal(size=(30, 2)) for name in "ab"}
    values = {"a": np.full(30, 0.2), "b": np.full(30, -0.4)}
    captions = {"a": "99% right", "b": "98% right"}
    figure = plotting.embeddings(
        planes, values, labels, captions=captions, title="digits"
    )
    assert [len(ax.collections) for ax in figure.axes] == [3, 3, 0]
    assert figure.axes[0].get_title() == "a\n99% right"
    for text in ("digits", "a: mean 0.20", "b: mean -0.40"):
        assert text in texts(figure)
    with pytest.raises(InputError, match=r"\['a', 'b'\] and \['a'\]"):
        plotting.embeddings(planes, {"a": values["a"]}, labels)

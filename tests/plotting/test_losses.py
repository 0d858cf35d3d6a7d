"""Losses over the predictions of three classes, and along one line of them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_gce import losses, plotting
from keras_gce.errors import InputError


def test_the_simplex_of_complement_entropy_is_least_along_a_line(texts):
    loss = losses.ComplementEntropy(normalize=True)
    points, values = plotting.simplex_values(loss, resolution=40)
    np.testing.assert_allclose(points.sum(axis=1), 1)
    q = points[:, 1:] / np.maximum(points[:, 1:].sum(axis=1, keepdims=True), 1e-12)
    # -H(q) / log 2 by its definition; at p0 = 1 there is no q, and the limit is -1.
    entropy = -(q * np.log(np.maximum(q, 1e-300))).sum(axis=1) / np.log(2)
    np.testing.assert_allclose(
        values, np.where(points[:, 0] < 1, -entropy, -1), atol=1e-5
    )
    figure = plotting.loss_simplex(loss, resolution=40)
    (minimum,) = [x for x in figure.axes[0].get_lines() if "minimum" in x.get_label()]
    x, y = minimum.get_data()
    np.testing.assert_allclose(x, 0.5)
    assert len(x) == 13 and y.min() == 0 and y.max() == pytest.approx(0.75**0.5)
    assert "all along" in texts(figure)


def test_the_simplex_of_gce_is_least_where_the_true_class_is_sure(texts):
    figure = plotting.loss_simplex(losses.guided_complement_entropy, title="GCE")
    ax, bar = figure.axes
    minimum = ax.get_lines()[-1]
    assert minimum.get_marker() == "*"
    np.testing.assert_allclose(minimum.get_xydata(), [(0.5, 0.75**0.5)])
    # The region of correct predictions: a third of the triangle.
    region = ax.get_lines()[0].get_xydata()
    (x, y), (next_x, next_y) = region[:-1].T, region[1:].T
    area = abs((x * next_y - y * next_x).sum()) / 2
    assert area == pytest.approx(0.75**0.5 / 2 / 3)
    for text in ("GCE", "true class", "correct prediction", "loss (no unit)"):
        assert text in texts(figure)
    into = Figure().subplots()
    limits = (-2, 0)
    same = plotting.loss_simplex(
        losses.ComplementEntropy(), into, limits=limits, key=False
    )
    assert same is into.figure and len(same.axes) == 1
    assert into.collections[0].get_clim() == limits


def test_the_simplex_refuses():
    for loss, received in (
        (losses.GuidedComplementEntropy(from_logits=True), "from_logits=True"),
        (lambda y_true, y_pred: 0.0, r"shape \(\)"),
        (lambda y_true, y_pred: np.log(y_pred[:, 0]), "which returned"),
    ):
        with np.errstate(divide="ignore"), pytest.raises(InputError, match=received):
            plotting.loss_simplex(loss)
    with pytest.raises(InputError, match="resolution=1"):
        plotting.simplex_values(losses.complement_entropy, resolution=1)


def test_several_simplexes_share_one_scale(texts):
    maps = {
        "complement entropy": losses.ComplementEntropy(normalize=True),
        "GCE": losses.GuidedComplementEntropy(),
    }
    figure = plotting.loss_simplexes(maps, title="normalised")
    drawn = [ax for ax in figure.axes if ax.get_title() in maps]
    assert [ax.collections[0].get_clim() for ax in drawn] == [(-1, 0)] * 2
    written = texts(figure)
    for text in (*maps, "normalised", "one point", "all along", "loss (no unit)"):
        assert text in written
    with pytest.raises(InputError, match="Received: none"):
        plotting.loss_simplexes({})


def test_the_profile_is_the_guiding_factor(texts, looks):
    figure = plotting.loss_profile()
    (ax,) = figure.axes
    lines = ax.get_lines()
    for line, alpha in zip(lines, (0, 1 / 10, 1 / 3, 1 / 2, 1), strict=True):
        p, loss = line.get_data()
        np.testing.assert_allclose(loss, -(p**alpha), atol=1e-5)
    assert len(set(looks(ax))) == 5
    for text in ("alpha 0 (no guiding", "alpha 1/10", "10 classes", "(no unit"):
        assert text in texts(figure)
    with pytest.raises(InputError, match="num_classes=2"):
        plotting.loss_profile(num_classes=2)
    with pytest.raises(ValueError, match="alpha=-1"):
        plotting.loss_profile([-1])

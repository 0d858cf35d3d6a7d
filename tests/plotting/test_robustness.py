"""Views of a robustness report."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from networks import balanced, labelled

from keras_gce import attacks, evaluate, evaluation, losses, plotting
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def report():
    model = balanced()
    model.compile(loss=losses.GuidedComplementEntropy(from_logits=True))
    data, pgd = labelled(model, 80), attacks.PGD(eps=0.1, steps=5, seed=0)
    found = evaluate(model, data, [pgd], progress=False, diagnostics=False)
    found.curves[:] = evaluation.accuracy_curves(
        model, data, [0.02, 0.1], attack=pgd, progress=False
    )
    return found


def test_accuracy_against_eps(report, texts):
    figure = plotting.accuracy_curves(report, dataset="digits")
    (ax,) = figure.axes
    assert len(ax.containers) == 3
    line = ax.containers[-1].lines[0]
    curve = report.curves[-1]
    np.testing.assert_allclose(np.array(line.get_xdata(), float), curve.eps)
    y = np.array(line.get_ydata(), float)
    np.testing.assert_allclose(y, 100 * np.array(curve.accuracy))
    bars = ax.containers[-1].lines[2][0].get_segments()
    low, high = curve.intervals()[-1]
    assert bars[-1][:, 1].tolist() == pytest.approx([100 * low, 100 * high])
    for text in ("digits", "adaptive", "linf ball (pixels", "(%)", "PGD on 80 images"):
        assert text in texts(figure)
    into = Figure().subplots()
    assert plotting.accuracy_curves(report.curves, into) is into.figure
    with pytest.raises(InputError, match="Received: none"):
        plotting.accuracy_curves([])


def test_adversarial_examples(report, texts):
    figure = plotting.adversarial_examples(report, limit=4, dataset="digits")
    assert len(figure.axes) == 12
    example = report.gallery[0]
    shown = [figure.axes[row * 4].get_images()[0].get_array() for row in range(3)]
    np.testing.assert_array_equal(shown[0], example.clean[..., 0])
    np.testing.assert_array_equal(shown[1], example.adversarial[..., 0])
    np.testing.assert_array_equal(shown[2], example.difference[..., 0])
    titles = [figure.axes[row * 4].get_title() for row in range(2)]
    assert titles == [str(example.before), f"→ {example.after}"]
    written = texts(figure)
    for text in ("digits", "threat model adaptive", "linf", "eps 0.1", "PGD", "±0.1"):
        assert text in written
    with pytest.raises(InputError, match="limit=0"):
        plotting.adversarial_examples(report, limit=0)
    report.gallery.clear()
    with pytest.raises(InputError, match="empty gallery"):
        plotting.adversarial_examples(report)

"""The adversarial examples of a report."""

import numpy as np


def test_the_gallery_shows_what_the_attacks_broke(report, gce_model, digits):
    x, y = digits.test.take(100).arrays()
    assert 1 < len(report.gallery) <= 8
    assert len({example.index for example in report.gallery}) == len(report.gallery)
    for example in report.gallery:
        assert not report.row_robust[example.row, example.index]
        assert report.clean[example.index]
        assert example.label == y[example.index] != example.after
        assert 0 < example.scale <= 0.1 + 1e-6
        delta = example.adversarial.astype(float) - example.clean
        np.testing.assert_allclose(example.clean, 255 * x[example.index], atol=0.51)
        shown = (example.difference / 127.5 - 1) * example.scale * 255
        np.testing.assert_allclose(shown, delta, atol=1.2)

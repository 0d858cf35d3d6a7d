"""The adversarial examples of a report."""

import dataclasses

import numpy as np
import pytest

from keras_gce import plotting
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport
from keras_gce.evaluation.gallery import gallery


def test_the_gallery_shows_what_the_attacks_broke(report, gce_model, digits):
    x, y = digits.test.take(100).arrays()
    broken = [example for example in report.gallery if not example.left]
    assert 1 < len(broken) <= 8
    assert len({example.index for example in report.gallery}) == len(report.gallery)
    for example in broken:
        assert not report.row_robust[example.row, example.index]
        assert report.clean[example.index]
        assert example.label == y[example.index] != example.after
        assert 0 < example.scale <= 0.1 + 1e-6
        delta = example.adversarial.astype(float) - example.clean
        np.testing.assert_allclose(example.clean, 255 * x[example.index], atol=0.51)
        shown = (example.difference / 127.5 - 1) * example.scale * 255
        np.testing.assert_allclose(shown, delta, atol=1.2)


def test_what_the_attacks_left_stands_behind(report, digits):
    x, y = digits.test.take(100).arrays()
    found = [[(3, x[3], int(y[3]) + 1)]]
    broken, *left = gallery(found, x, y, (0.0, 1.0), left=report.clean)
    assert broken.index == 3 and not broken.left
    first = np.flatnonzero(report.clean)[:4]
    assert [example.index for example in left] == first.tolist()
    for example in left:
        assert example.left and example.scale == 0
        np.testing.assert_array_equal(example.clean, example.adversarial)
        np.testing.assert_allclose(example.clean, 255 * x[example.index], atol=0.51)
    text = dataclasses.replace(report, gallery=[broken, *left]).to_json()
    again = RobustnessReport.from_json(text).gallery
    assert [example.left for example in again] == [False] + [True] * 4
    only_left = dataclasses.replace(report, gallery=left)
    with pytest.raises(InputError, match="empty gallery"):
        plotting.adversarial_examples(only_left)

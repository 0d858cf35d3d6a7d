"""scikit-learn's digits, resized."""

import numpy as np
import pytest

from keras_gce import datasets


def test_digits(digits):
    # scikit-learn's load_digits: 1,797 images, 174 to 183 a class.
    parts = digits.train, digits.validation, digits.test
    assert [len(part) for part in parts] == [1293, 144, 360]
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.test.images.dtype == np.uint8
    assert digits.test.images.shape == (360, 28, 28, 1)
    assert np.bincount(digits.test.labels).tolist() == [36] * 10
    images = np.concatenate([part.images for part in parts])
    assert (images.min(), images.max()) == (0, 255)


def test_digits_test_part_is_always_the_same(digits):
    other = datasets.load("digits", validation=0.5, seed=7)
    np.testing.assert_array_equal(other.test.images, digits.test.images)
    np.testing.assert_array_equal(other.test.labels, digits.test.labels)
    # From the first run of this code; a change would void every earlier figure.
    assert digits.test.labels[:10].tolist() == [4, 5, 6, 9, 4, 7, 8, 9, 9, 6]


def test_digits_are_resized_bilinearly(digits):
    tf = pytest.importorskip("tensorflow")
    source = pytest.importorskip("sklearn.datasets").load_digits().images
    expected = tf.image.resize(source[..., None] * (255 / 16), (28, 28)).numpy()
    parts = digits.train, digits.validation, digits.test
    ours = np.concatenate([part.images for part in parts]).astype("float32")
    assert ours.mean() == pytest.approx(expected.mean(), abs=0.05)
    # The test part is in another order than the source; 0.5 is the rounding.
    for image in ours[-20:]:
        assert np.abs(expected - image).max(axis=(1, 2, 3)).min() <= 0.501

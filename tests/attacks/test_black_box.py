"""Noise, and the examples of another model."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend, evaluate
from keras_gce.attacks import PGD, RandomNoise, Transfer
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


@pytest.mark.seam
def test_transfer_returns_the_sources_examples():
    model, source = balanced(), balanced(seed=1)
    x, y = labelled(model)
    attack = PGD(eps=0.15, steps=10, seed=1)
    transfer = Transfer(source=source, attack=attack)
    x_adv = transfer(model, x, y)
    np.testing.assert_array_equal(x_adv, attack(source, x, y))
    report = evaluate(model, (x, y), transfer, progress=False, diagnostics=False)
    (row,) = report.results
    assert (row.name, row.eps, row.norm, row.loss) == (
        "Transfer PGD",
        0.15,
        "linf",
        None,
    )
    assert row.settings["source"].startswith(f"{source.name} (weights ")
    assert row.settings["attack"]["steps"] == 10


def test_noise_is_traced_once_for_all_settings_and_batch_sizes(tf):
    model = balanced()
    x, y = labelled(model)
    for eps, samples, n in ((0.1, 5, 40), (0.2, 9, 13)):
        RandomNoise(eps=eps, samples=samples)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1


def test_targeted_noise_moves_towards_the_target(xe_model, images):
    x, y = images
    target = ((y + 1) % 10).astype("int32")

    def lead(v):
        z = xe_model.predict(to_numpy(v), verbose=0)
        return z[np.arange(len(y)), target] - z[np.arange(len(y)), y]

    attack = RandomNoise(eps=0.1, samples=30, targeted=True, seed=0)
    assert lead(attack(xe_model, x, target)).mean() > lead(x).mean()


def test_wrong_input(xe_model, images):
    x, y = images
    with pytest.raises(InputError, match="samples=0"):
        RandomNoise(eps=0.1, samples=0)
    with pytest.raises(InputError, match="attack='pgd'"):
        Transfer(source=xe_model, attack="pgd")
    other = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten()])
    other.add(keras.layers.Dense(4))
    with pytest.raises(InputError, match="with 4"):
        Transfer(source=other, attack=PGD(eps=0.1))(xe_model, x, y)

"""A report with all that one can hold, for its views."""

import dataclasses

import pytest

from keras_gce.attacks import FGSM, PGD, RandomNoise
from keras_gce.evaluation import accuracy_curves, evaluate

NAMES = ["zero", "one", "two", "three", "<b>four</b>", "5", "6", "7", "8", "9"]


@pytest.fixture(scope="session")
def report(gce_model, digits):
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, steps=5), RandomNoise(eps=0.1, samples=2)]
    made = evaluate(
        gce_model, digits.test.take(100), attacks, progress=False, diagnostics=False
    )
    data = digits.test.take(40)
    curves = accuracy_curves(gce_model, data, [0.05, 0.1, 0.2], progress=False)
    return dataclasses.replace(made, curves=curves, class_names=NAMES)

"""Honest evaluation: threat models named, the worst case per example, flags."""

import importlib
from typing import Any

from keras_gce.evaluation.adversarial import AdversarialExamples
from keras_gce.evaluation.comparison import Comparison, compare
from keras_gce.evaluation.curves import accuracy_curves
from keras_gce.evaluation.diagnostics import diagnose
from keras_gce.evaluation.evaluator import evaluate
from keras_gce.evaluation.least import Distances, distances
from keras_gce.evaluation.merging import merge
from keras_gce.evaluation.on_ray import evaluate_on_ray
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.results import (
    AttackResult,
    Curve,
    Flag,
    GalleryExample,
    Part,
    WorstCase,
)
from keras_gce.evaluation.threat_models import THREAT_MODELS

__all__ = [
    "THREAT_MODELS",
    "AdversarialExamples",
    "AttackResult",
    "Comparison",
    "Curve",
    "Distances",
    "Flag",
    "GalleryExample",
    "Part",
    "RobustnessReport",
    "WorstCase",
    "accuracy_curves",
    "compare",
    "diagnose",
    "distances",
    "evaluate",
    "evaluate_on_ray",
    "merge",
    "paper_attacks",
]


def __getattr__(name: str) -> Any:
    # The attacks of the paper's tables live with its recipes, in an upper room; their
    # older public name is found there when it is asked for.
    if name == "paper_attacks":
        return importlib.import_module("keras_gce.recipes.paper_attacks").paper_attacks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

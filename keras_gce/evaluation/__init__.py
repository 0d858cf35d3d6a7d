"""Honest evaluation: threat models named, the worst case per example, flags."""

from keras_gce.evaluation.compare import Comparison, compare
from keras_gce.evaluation.curves import accuracy_curves
from keras_gce.evaluation.diagnostics import diagnose
from keras_gce.evaluation.evaluate import evaluate
from keras_gce.evaluation.paper import paper_attacks
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.results import AttackResult, Curve, Flag, GalleryExample
from keras_gce.evaluation.threat_models import THREAT_MODELS

__all__ = [
    "THREAT_MODELS",
    "AttackResult",
    "Comparison",
    "Curve",
    "Flag",
    "GalleryExample",
    "RobustnessReport",
    "accuracy_curves",
    "compare",
    "diagnose",
    "evaluate",
    "paper_attacks",
]

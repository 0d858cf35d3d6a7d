"""Honest evaluation: threat models named, the worst case per example, flags."""

from keras_gce.evaluation.diagnostics import diagnose
from keras_gce.evaluation.evaluate import THREAT_MODELS, evaluate
from keras_gce.evaluation.paper import paper_attacks
from keras_gce.evaluation.report import AttackResult, Flag, RobustnessReport

__all__ = [
    "THREAT_MODELS",
    "AttackResult",
    "Flag",
    "RobustnessReport",
    "diagnose",
    "evaluate",
    "paper_attacks",
]

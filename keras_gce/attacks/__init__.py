"""Attacks: immutable, keyword-only objects, `x_adv = attack(model, x, y)`."""

from keras_gce.attacks.apgd import APGD
from keras_gce.attacks.base import Attack, BallAttack
from keras_gce.attacks.carlini_wagner import CarliniWagnerL2
from keras_gce.attacks.gradient import BIM, FGSM, MIM, PGD
from keras_gce.attacks.jsma import JSMA
from keras_gce.attacks.logits import logits_of

__all__ = [
    "APGD",
    "BIM",
    "FGSM",
    "JSMA",
    "MIM",
    "PGD",
    "Attack",
    "BallAttack",
    "CarliniWagnerL2",
    "logits_of",
]

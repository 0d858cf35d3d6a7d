"""Attacks: immutable, keyword-only objects, `x_adv = attack(model, x, y)`."""

from keras_gce.attacks.apgd import APGD, APGDT
from keras_gce.attacks.autoattack import AutoAttack
from keras_gce.attacks.base import Attack
from keras_gce.attacks.black_box import RandomNoise, Transfer
from keras_gce.attacks.bpda import straight_through
from keras_gce.attacks.carlini_wagner import CarliniWagnerL2
from keras_gce.attacks.fab import FAB
from keras_gce.attacks.fmn import FMN
from keras_gce.attacks.gradient import BIM, FGSM, MIM, PGD
from keras_gce.attacks.hop_skip_jump import HopSkipJump
from keras_gce.attacks.in_ball import BallAttack, LossAttack
from keras_gce.attacks.jsma import JSMA
from keras_gce.attacks.square import Square
from keras_gce.classifier import logits_of

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "FAB",
    "FGSM",
    "FMN",
    "JSMA",
    "MIM",
    "PGD",
    "Attack",
    "AutoAttack",
    "BallAttack",
    "CarliniWagnerL2",
    "HopSkipJump",
    "LossAttack",
    "RandomNoise",
    "Square",
    "Transfer",
    "logits_of",
    "straight_through",
]

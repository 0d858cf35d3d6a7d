"""Attacks: immutable, keyword-only objects, `x_adv = attack(model, x, y)`."""

from keras_gce.attacks.base import Attack
from keras_gce.attacks.gradient import BIM, FGSM, MIM, PGD
from keras_gce.attacks.logits import logits_of

__all__ = ["BIM", "FGSM", "MIM", "PGD", "Attack", "logits_of"]

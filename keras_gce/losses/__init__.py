"""Complement entropy and guided complement entropy (GCE), on `keras.ops` alone.

The source is Chen et al., "Improving Adversarial Robustness via Guided Complement
Entropy", ICCV 2019 (arXiv 1903.09799): see `guided_complement_entropy`.
"""

from keras_gce.losses.classes import ComplementEntropy, GuidedComplementEntropy
from keras_gce.losses.functions import complement_entropy, guided_complement_entropy

__all__ = [
    "ComplementEntropy",
    "GuidedComplementEntropy",
    "complement_entropy",
    "guided_complement_entropy",
]

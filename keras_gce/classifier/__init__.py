"""`Classifier`: what attacks and evaluation see of a Keras model, found out once.

It is made where a model enters, and handed on from there; no other room asks a Keras
model what it ends in, how many classes it has or what it was compiled with.
"""

from keras_gce.classifier.classifier import Classifier, logits_of, unwrap
from keras_gce.classifier.predictions import batches, is_finite, is_right

__all__ = ["Classifier", "batches", "is_finite", "is_right", "logits_of", "unwrap"]

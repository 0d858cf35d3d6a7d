"""The paper's networks and a small one: images in [0, 1] in, logits out.

All are functional models of stock Keras layers, so that a saved one loads where
this package is not installed. Normalisation, where there is any, is inside. The
layer named "features" gives the penultimate features, the one named "logits" the
logits, in float32 under mixed precision too.
"""

from keras_gce.models.residual import ResNet20, ResNet50, ResNet56
from keras_gce.models.small import LeNet5, SmallCNN

__all__ = ["LeNet5", "ResNet20", "ResNet50", "ResNet56", "SmallCNN"]

"""Image datasets in memory, with a validation part and an untouched test part."""

from keras_gce.datasets.loading import NAMES, Dataset, load
from keras_gce.datasets.split import Split

__all__ = ["NAMES", "Dataset", "Split", "load"]

"""`search_alpha`: the exponent of guided complement entropy, searched by KerasTuner."""

from keras_gce.tuning.results import AlphaSearch, AlphaTrial
from keras_gce.tuning.search import search_alpha

__all__ = ["AlphaSearch", "AlphaTrial", "search_alpha"]

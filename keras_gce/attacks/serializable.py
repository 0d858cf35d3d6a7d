"""How Keras serializes what is its settings: attacks, and training objectives."""

import dataclasses
from typing import Any

import keras

from keras_gce.per_feature import plain

__all__ = ["serializable"]


def serializable(cls: Any) -> Any:
    """Lets Keras serialize a class of settings, a dataclass, by its fields."""

    def get_config(self: Any) -> dict[str, Any]:
        fields = dataclasses.fields(self)
        return {field.name: plain(getattr(self, field.name)) for field in fields}

    def from_config(cls: Any, config: dict[str, Any]) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        return cls(**{name: deserialize(value) for name, value in config.items()})

    cls.get_config, cls.from_config = get_config, classmethod(from_config)
    return keras.saving.register_keras_serializable(package="keras_gce")(cls)

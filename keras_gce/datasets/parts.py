"""`Parts`: what a reader of a dataset returns."""

import dataclasses

from keras_gce.datasets.split import Split

__all__ = ["Parts"]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a dataset as they are stored, before any is cut.

    Args:
        train: The `Split` to train on; `None` where there is the test part alone.
        test: The `Split` for the final figure.
        class_names: The classes' names, in the order of the labels.
        validation: The `Split` that the dataset has for choices; `None` where it has
            none of its own.
    """

    train: Split | None
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None

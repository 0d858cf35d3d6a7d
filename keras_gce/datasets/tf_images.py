"""Image files as TensorFlow decodes them, where Keras's reader has no answer."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

__all__ = ["sizes", "unreadable"]


def sizes(paths: Sequence[str]) -> np.ndarray:
    """Returns height and width of each image file, an array of shape `(N, 2)`."""
    data = tf.data.Dataset.from_tensor_slices(list(paths))
    data = data.map(
        lambda path: tf.shape(_decoded(path))[:2], num_parallel_calls=tf.data.AUTOTUNE
    )
    return np.stack(list(data.as_numpy_iterator()))


def unreadable(paths: Sequence[str], channels: int) -> tuple[str, str] | None:
    """Returns the first file that can't be decoded, and why; `None`: all can."""
    for path in paths:
        try:
            _decoded(path, channels)
        except Exception as error:  # Of the file system too.
            return path, " ".join(str(error).split())
    return None


def _decoded(path: str, channels: int = 0) -> tf.Tensor:
    # As keras.utils.image_dataset_from_directory does it.
    return tf.io.decode_image(
        tf.io.read_file(path), channels=channels, expand_animations=False
    )

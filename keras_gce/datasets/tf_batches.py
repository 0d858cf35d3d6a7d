"""`Split.batches` as a `tf.data` pipeline."""

import weakref
from typing import Any

import tensorflow as tf

from keras_gce.datasets.augmentation import PADDING, gathered

__all__ = ["batches"]

# The images of each split as a tensor: made once, for the pipelines of all epochs.
_IMAGES: weakref.WeakKeyDictionary[Any, tf.Tensor] = weakref.WeakKeyDictionary()


def batches(
    split: Any, batch_size: int, shuffle: bool, augment: bool, seed: int | None
) -> tf.data.Dataset:
    """Returns `split` as a `tf.data.Dataset`; the arguments are `Split.batches`'s.

    Indices are shuffled and batched, and one map gathers whole batches: nothing is
    done for a single example.
    """
    # On the CPU, where tf.data runs; otherwise a GPU would hold the images too.
    with tf.init_scope(), tf.device("CPU:0"):
        if split not in _IMAGES:
            _IMAGES[split] = tf.convert_to_tensor(split.images)
        images, labels = _IMAGES[split], tf.convert_to_tensor(split.labels)
    indices = tf.data.Dataset.range(len(split))
    if shuffle and len(split):
        indices = indices.shuffle(len(split), seed, reshuffle_each_iteration=True)
    indices = indices.batch(batch_size)

    def batch(
        index: tf.Tensor, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = () if key is None else _draws(tf.shape(index)[0], key)
        return gathered(images, index, *drawn), tf.gather(labels, index)

    if augment:
        # A key for each batch, and stateless random numbers from it: the parallel
        # maps may then run in any order.
        keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        indices = tf.data.Dataset.zip(indices, keys)
    pipeline = indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return pipeline.prefetch(tf.data.AUTOTUNE)


def _draws(size: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Draws what `augmentation.draws` does, by a key and in a graph."""
    keys = tf.unstack(tf.random.split(key, 3))
    top, left = (
        tf.random.stateless_uniform(
            (size, 1), one, maxval=2 * PADDING + 1, dtype=tf.int32
        )[:, 0]
        for one in keys[:2]
    )
    mirrored = tf.random.stateless_uniform((size, 1), keys[2])[:, 0] < 0.5
    return top, left, tf.cast(mirrored, tf.int32)

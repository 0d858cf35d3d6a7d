"""Batches: the same promises from tf.data and from the PyDataset."""

import sys

import keras
import numpy as np
import pytest

from keras_gce import datasets
from keras_gce.datasets.py_batches import PyBatches


def tf_batches(split, *args, **options):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tf.data pipeline is the TensorFlow backend's")
    return split.batches(*args, **options)


pipelines = pytest.mark.parametrize("batches", [tf_batches, PyBatches])


def listed(pipeline):
    return [(np.asarray(x), np.asarray(y)) for x, y in pipeline]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(x, a) and np.array_equal(y, b)
        for (x, y), (a, b) in zip(one, other, strict=True)
    )


@pipelines
def test_batches_are_the_arrays_in_order(batches, split):
    found = listed(batches(split, 5))
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 3]
    assert len(batches(split, 5)) == 5
    images, labels = split.arrays()
    x, y = (np.concatenate(part) for part in zip(*found, strict=True))
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(x, images, rtol=1e-7, atol=0)
    np.testing.assert_array_equal(y, labels)
    floats = datasets.Split(images, labels)
    np.testing.assert_array_equal(listed(batches(floats, 23))[0][0], images)


@pipelines
def test_shuffled_anew_every_epoch_and_the_same_by_the_seed(batches, split):
    pipeline, twin = (batches(split, 5, shuffle=True, seed=4) for _ in range(2))
    first, second = listed(pipeline), listed(pipeline)
    assert not same(first, second)
    assert same(first, listed(twin))
    assert same(second, listed(twin))
    assert not same(first, listed(batches(split, 5, shuffle=True, seed=5)))
    labels = np.concatenate([y for _, y in first])
    assert sorted(labels.tolist()) == list(range(23))
    for x, y in first:
        np.testing.assert_allclose(x, split.arrays()[0][y], rtol=1e-7, atol=0)


@pipelines
def test_augmented_anew_every_epoch_and_the_same_by_the_seed(batches, split):
    pipeline, twin = (batches(split, 5, augment=True, seed=4) for _ in range(2))
    first, second = listed(pipeline), listed(pipeline)
    assert not same(first, second)
    assert same(first, listed(twin))
    assert same(second, listed(twin))
    assert not same(first, listed(batches(split, 5, augment=True, seed=5)))
    assert [x.shape for x, _ in first][-2:] == [(5, 9, 7, 3), (3, 9, 7, 3)]


@pipelines
def test_augmentation_is_pad_crop_and_flip(batches, split):
    padded = np.pad(split.arrays()[0], ((0, 0), (4, 4), (4, 4), (0, 0)))
    seen = set()
    pipeline = batches(split, 23, augment=True, seed=0)
    for _ in range(4):
        ((x, y),) = listed(pipeline)
        for image, label in zip(x, y, strict=True):
            crops = {
                (top, left, step): padded[label, top : top + 9, left : left + 7][
                    :, ::step
                ]
                for top in range(9)
                for left in range(9)
                for step in (1, -1)
            }
            found = [key for key, crop in crops.items() if np.allclose(crop, image)]
            assert found
            seen.add(found[0])
    # 92 draws of 162 possibilities: all 9 offsets and both directions should occur.
    assert [len({key[axis] for key in seen}) for axis in range(3)] == [9, 9, 2]


def test_all_epochs_share_one_tensor(split):
    one, other = PyBatches(split, 5), PyBatches(split, 7, shuffle=True)
    assert one._images is other._images
    alike = datasets.Split(split.images, split.labels)
    assert PyBatches(alike, 5)._images is not one._images


def test_all_pipelines_share_one_tensor(split, tf):
    def captured(pipeline):
        """The images that the pipeline holds, by their identity."""
        while not hasattr(pipeline, "_map_func"):
            pipeline = pipeline._input_dataset
        tensors = pipeline._map_func.function.captured_inputs
        return {id(t) for t in tensors if t.shape == split.images.shape}

    pipelines = [split.batches(5), split.batches(7, shuffle=True, augment=True)]
    assert captured(pipelines[0]) == captured(pipelines[1])
    assert len(captured(pipelines[0])) == 1
    # Made in a compiled function too, it is no tensor of that function's.
    alike = datasets.Split(split.images, split.labels)

    @tf.function
    def compiled():
        alike.batches(5)

    compiled()
    assert same(listed(alike.batches(5)), listed(split.batches(5)))


@pipelines
def test_the_tensor_goes_with_the_split(batches, split):
    import gc
    import weakref

    from keras_gce.datasets import py_batches

    kept = [py_batches._IMAGES]
    if batches is tf_batches:
        batches(split, 5)
        kept = [sys.modules["keras_gce.datasets.tf_batches"]._IMAGES]
    alike = datasets.Split(split.images.copy(), split.labels)
    listed(batches(alike, 5))
    assert alike in kept[0]
    gone = weakref.ref(alike)
    del alike
    gc.collect()
    assert gone() is None


@pipelines
def test_fit_takes_batches(batches, split):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(23)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # shuffle=False, or Keras warns, for a tf.data.Dataset.
    pipeline = batches(split, 5, shuffle=True, augment=True)
    history = model.fit(pipeline, epochs=2, shuffle=False, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    assert model.input_shape[1:] == (9, 7, 3)

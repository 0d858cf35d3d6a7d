"""The seam to TensorFlow: where its functions run, and how they are compiled."""

import keras
import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import BIM, FGSM, MIM, PGD


def test_the_device_decides_on_xla(tf):
    model = balanced()
    x, y = labelled(model)
    compiled_with_xla = {}
    for choice in ("auto", True, False):
        attack = PGD(eps=0.1, steps=2, seed=0, jit_compile=choice)
        before = set(backend.tensorflow.compiled_for(model))
        attack(model, x, y)
        functions = backend.tensorflow.compiled_for(model)
        (function,) = (functions[key] for key in functions.keys() - before)
        attributes = function.function_def.attr
        compiled_with_xla[choice] = attributes["_XlaMustCompile"].b
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    assert compiled_with_xla == {"auto": has_gpu, True: True, False: False}


def test_a_gpu_gives_what_the_cpu_gives(tf, xe_model, digits):
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    x, y = digits.test.take(40).arrays()
    for attack in (FGSM(eps=0.1), BIM(eps=0.1), MIM(eps=0.1)):
        found = attack(xe_model, x, y)
        assert "GPU" in found.device
        with tf.device("CPU:0"):
            model = keras.models.clone_model(xe_model)
            model.set_weights(xe_model.get_weights())
            ours = attack.with_loss("crossentropy")(model, x, y)
        same = np.isclose(found, ours, rtol=0, atol=1e-5)
        assert same.mean() > 0.995, attack.name


def test_the_switch_for_a_debugger(tf):
    seen = []

    def loss(y, logits):
        seen.append(tf.executing_eagerly())
        return keras.ops.sparse_categorical_crossentropy(y, logits, from_logits=True)

    model = balanced()
    x, y = labelled(model)
    attack = PGD(eps=0.1, steps=3, seed=0, loss=loss)
    tf.config.run_functions_eagerly(True)
    try:
        step_by_step = attack(model, x, y)
    finally:
        tf.config.run_functions_eagerly(False)
    assert seen == [True] * 3
    np.testing.assert_allclose(step_by_step, attack(model, x, y), atol=1e-6)

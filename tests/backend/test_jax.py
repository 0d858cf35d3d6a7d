"""The seam to JAX, whose programs are of fixed shapes and change no state."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import BIM, FAB, FGSM, PGD, Square
from keras_gce.classifier import Classifier
from keras_gce.training import AdversarialModel

pytestmark = pytest.mark.seam


@pytest.fixture
def jax():
    if keras.backend.backend() != "jax":
        pytest.skip("about JAX")


def test_compiled_once_for_a_range_of_batch_sizes(jax):
    model = balanced()
    x, y = labelled(model)
    for eps, n in ((0.1, 40), (0.2, 33), (0.3, 40)):
        PGD(eps=eps, steps=n)(model, x[:n], y[:n])
    assert backend.trace_count(model) == 1
    PGD(eps=0.1, steps=2)(model, x[:7], y[:7])
    assert backend.trace_count(model) == 2


def test_filling_up_a_batch_changes_nothing():
    model = balanced()
    x, y = labelled(model)
    attack = BIM(eps=0.1)
    together = to_numpy(attack(model, x[:33], y[:33]))
    alone = to_numpy(attack(model, x[:5], y[:5]))
    assert together.shape == x[:33].shape
    np.testing.assert_allclose(together[:5], alone, atol=1e-5)


class Noise(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)


def test_random_models_move_on_as_after_predict(jax):
    noise = Noise()
    model = balanced(first=[noise])
    x, y = labelled(balanced())
    classifier = Classifier(model)
    first, second = classifier.predict(x), classifier.predict(x)
    assert np.abs(first - second).max() > 0.1
    assert to_numpy(noise.seed.state.value).tolist() == [0, 2]
    noise.seed.state.assign([0, 0])
    np.testing.assert_array_equal(classifier.predict(x), first)
    assert backend.trace_count(model) == 1
    # Dropout draws nothing in inference.
    dropout = keras.layers.Dropout(0.5, seed=0)
    FGSM(eps=0.1)(balanced(first=[dropout]), x, y)
    assert to_numpy(dropout.seed_generator.state.value).tolist() == [0, 0]


def test_random_models_train(jax):
    model = balanced(first=[Noise()])
    x, y = labelled(model)
    wrapped = AdversarialModel(model, BIM(eps=0.1, steps=3, eot_samples=2))
    wrapped.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    history = wrapped.fit(x, y, batch_size=20, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


SIZES = []


def counted_down(classifier, x, fast, most):
    """Counts down by 1, or by 2 where `fast`, from x to 0; then, in a second loop, up.

    The second loop ends where each example began, which its closure knows.
    """

    def down(i, state):
        SIZES.append(len(state[0]))
        x, rounds, fast = state
        x = x - ops.where(fast, 2, 1)
        return (x, rounds + 1 + 0 * i, fast), x <= 0

    def up(i, state):
        now, begin = state
        return (now + 1, begin), now + 1 >= x if len(now) == len(x) else begin < 0

    rounds = ops.zeros_like(x)
    low, rounds = backend.while_active(down, (x, rounds, fast), most, num_results=2)
    (again,) = backend.while_active(up, (low, x), most)
    return low, rounds, again + 0 * rounds


def run_counted(classifier, x, most=1000):
    fast = x % 3 == 0
    run = classifier, "counted", counted_down, (x, fast), {"most": np.int32(most)}
    found = [to_numpy(value) for value in backend.run_compiled(*run)]
    by = np.where(fast, 2, 1)
    rounds = np.minimum(np.maximum(-(-x // by), 1), most)
    low = x - by * rounds
    again = low + np.minimum(np.maximum(x - low, 1), most)
    for value, expected in zip(found, (low, rounds, again), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("length", [1, 10])
def test_examples_that_are_done_leave_and_few_sizes_are_compiled(
    jax, length, monkeypatch
):
    from keras_gce.backend import jax_loops

    monkeypatch.setattr(jax_loops, "_length", lambda weights: length)
    classifier = Classifier(balanced())
    x = np.random.default_rng(0).permutation(64).astype("int32")
    SIZES.clear()
    run_counted(classifier, x)
    assert sorted(set(SIZES)) == [8, 32, 64]
    traced = len(SIZES)
    for n in (64, 63, 33, 20, 9, 3, 1, 0):
        run_counted(classifier, x[:n], most=70 + n)
    run_counted(classifier, x, most=7)
    assert len(SIZES) == traced
    # What lies around two loops, also in no size; and the two loops.
    assert backend.trace_count(classifier.model) == 3 * 4 + 2 * 3


def test_the_results_are_those_of_one_loop(jax):
    import jax as library

    model = balanced()
    classifier = Classifier(model)
    x, y = labelled(model)
    attack = BIM(eps=0.04, steps=60)
    settings = {**attack.settings(0), "seed": np.zeros(2, "int32")}
    whole = library.jit(
        lambda x, y: attack.perturb(classifier, x, y, stop_early=True, **settings)
    )(x, y)
    parts = attack.run(classifier, x, y, stop_early=True)
    np.testing.assert_allclose(to_numpy(parts), to_numpy(whole), atol=1e-5)
    assert 0 < classifier.right(to_numpy(parts), y).mean() < 0.5


def test_a_loop_in_a_loop(jax):
    def nested(classifier, x):
        def halve(i, state):
            return (state[0] // 2, state[1] + 1), state[0] // 2 <= 1

        def again(k, x, total):
            _, count = backend.while_active(halve, (x, 0 * x), 30, num_results=2)
            return k + 1, x + 1, total + count

        return ops.while_loop(lambda k, *_: k < 3, again, (0, x, 0 * x))[2]

    classifier = Classifier(balanced())
    x = np.array([2, 16, 1000], "int32")
    found = backend.run_compiled(classifier, "nested", nested, (x,), {})
    np.testing.assert_array_equal(to_numpy(found), [4, 12, 27])
    assert backend.trace_count(classifier.model) == 1


def test_the_same_seed_leaves_the_same_images():
    model = balanced()
    x, y = labelled(model)
    attack = Square(eps=0.05, queries=60, seed=1)
    first, again = (to_numpy(attack(model, x, y)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_models_of_nan_and_empty_batches_end():
    model = balanced()
    x, y = labelled(model)
    broken = balanced()
    broken.set_weights([np.full_like(w, np.nan) for w in broken.get_weights()])
    for attack in (FAB(eps=0.1, steps=25, num_targets=1), Square(eps=0.1, queries=30)):
        for net, n in ((broken, 40), (model, 0)):
            x_adv = to_numpy(attack.run(Classifier(net), x[:n], y[:n], 0, True))
            assert x_adv.shape == x[:n].shape
            assert (
                np.isfinite(x_adv).all() and np.abs(x_adv - x[:n]).max(initial=0) < 0.11
            )


def test_a_round_that_fails_leaves_nothing_to_the_next_program():
    """A random model's numbers are of the rounds around it, of those alone."""
    inputs = keras.Input((8, 8, 1))
    noise = keras.layers.GaussianNoise(0.1, seed=0)(inputs, training=True)
    model = keras.Model(inputs, balanced()(noise))
    x, y = labelled(balanced(), 6)

    def fails(y, logits):
        raise RuntimeError("of the user's own")

    with pytest.raises(RuntimeError, match="own"):
        PGD(eps=0.1, steps=2, eot_samples=2, loss=fails, seed=0)(model, x, y)
    x_adv = to_numpy(PGD(eps=0.1, steps=2, eot_samples=2, seed=0)(model, x, y))
    assert np.isfinite(x_adv).all() and (x_adv != x).any()

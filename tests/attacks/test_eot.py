"""Gradients averaged over the passes of a model that draws random numbers."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce import backend
from keras_gce.attacks import (
    APGD,
    APGDT,
    BIM,
    FAB,
    FGSM,
    FMN,
    JSMA,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
)
from keras_gce.attacks.objectives import margin
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError

FEATURES = 64
MEAN = np.random.default_rng(0).choice([-1.0, 1.0], FEATURES).astype("float32")
# Of the noise on each component of the gradient, in the component.
SIGMA = 3.0


class Noisy(keras.layers.Layer):
    """Two classes; class 1 leads by (MEAN + noise) . x - 1000, anew at each pass."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(0)

    def call(self, x):
        noise = keras.random.normal((FEATURES,), stddev=SIGMA, seed=self.seed)
        lead = ops.sum(x * (ops.convert_to_tensor(MEAN) + noise), axis=-1) - 1000
        return ops.stack([ops.zeros_like(lead), lead], axis=-1)


def noisy():
    return keras.Sequential([keras.Input((FEATURES,)), Noisy()])


X, Y = np.full((2, FEATURES), 0.5, "float32"), np.zeros(2, "int32")


def cosines(x_adv):
    """How well the way that each image went is that of the mean gradient."""
    delta = to_numpy(x_adv).astype("float64") - X
    return delta @ MEAN / np.linalg.norm(delta, axis=-1) / FEATURES**0.5


@pytest.mark.seam
def test_the_gradient_is_the_mean_of_independent_passes():
    for samples in (1, 100):
        attack = FGSM(eps=0.1, norm="l2", loss="margin", eot_samples=samples)
        # In expectation |mean of the noise|^2 = SIGMA^2 FEATURES / samples.
        expected = (1 + SIGMA**2 / samples) ** -0.5
        assert cosines(attack(noisy(), X, Y)) == pytest.approx(expected, abs=0.2)


@pytest.mark.seam
@pytest.mark.parametrize("stop_early", [False, True])
def test_each_step_draws_numbers_of_its_own(stop_early):
    attack = BIM(eps=0.1, norm="l2", loss="margin", steps=100)
    x_adv = attack.run(Classifier(noisy()), X, Y, stop_early=stop_early)
    # With the same ones in each step it would be that of one pass, 0.3.
    assert cosines(x_adv).min() > 0.85


@pytest.mark.seam
def test_models_of_one_state_are_attacked_alike():
    attack = BIM(eps=0.1, loss="margin", steps=3, eot_samples=2)
    first, again = (to_numpy(attack(noisy(), X, Y)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    model = noisy()
    moved_on = [to_numpy(attack(model, X, Y)) for _ in range(2)]
    np.testing.assert_array_equal(moved_on[0], first)
    assert (moved_on[1] != first).any()


@pytest.fixture
def counting():
    """A network that counts its passes: its variables stay still under JAX alone."""
    if keras.backend.backend() == "jax":
        pytest.skip("counts by a variable")

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.passes = self.add_weight(
                shape=(), initializer="zeros", trainable=False
            )

        def call(self, x):
            self.passes.assign_add(1.0)
            return 1.0 * x

    layer = Counting()
    plain = balanced(classes=5)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, plain])
    return model, layer.passes, labelled(plain)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=0.1, steps=3, restarts=2, seed=0),
        APGDT(eps=0.1, steps=3, num_targets=2, seed=0),
        FAB(eps=0.1, steps=3, num_targets=2, seed=0),
        FMN(norm="l2", steps=3),
        CarliniWagnerL2(target=None, binary_search_steps=2, max_iterations=3),
        JSMA(gamma=0.1, seed=0),
    ],
    ids=lambda attack: attack.name,
)
def test_every_pass_is_averaged_in_one_trace(counting, attack):
    model, count, (x, y) = counting
    classifier = Classifier(model)
    traces, passes, images = [], {}, {}
    for samples in (1, 2, 3):
        count.assign(0.0)
        sampled = type(attack)(**attack.get_config() | {"eot_samples": samples})
        images[samples] = to_numpy(sampled.run(classifier, x, y, seed=0))
        passes[samples] = float(count.value)
        traces.append(backend.trace_count(model))
        assert sampled.passes(64, 5) == samples * attack.passes(64, 5)
    assert passes[2] == 2 * passes[1] and passes[3] == 3 * passes[1] > 0
    assert traces in ([1, 2, 2], [0, 0, 0])
    # Here all passes are one, whose mean is rounded.
    same = np.isclose(images[3], images[2], rtol=0, atol=1e-4)
    assert same.mean() > 0.99


def test_a_success_is_not_the_end_where_passes_are_averaged():
    model = balanced()
    x, y = labelled(model)
    classifier = Classifier(model)

    def leads(attack, **settings):
        z = classifier.predict(to_numpy(attack.run(classifier, x, y, 0, **settings)))
        return to_numpy(margin(y, ops.convert_to_tensor(z)))

    for kind in (BIM, APGD):
        once, averaged = (kind(eps=0.2, steps=8, eot_samples=n) for n in (1, 2))
        early, late = leads(once, stop_early=True), leads(averaged, stop_early=True)
        assert min((early > 0).mean(), (late > 0).mean()) > 0.9
        assert late.mean() > 2 * early.mean()
        np.testing.assert_allclose(late, leads(averaged), atol=1e-3)


def test_the_ensemble_hands_it_on():
    def listed(**settings):
        attacks = AutoAttack(eps=0.1, **settings).attacks
        return [getattr(attack, "eot_samples", None) for attack in attacks]

    assert listed() == [1, 1, 1, None]
    assert listed(eot_samples=5) == [5, 5, 5, None]
    # The authors' 20.
    assert listed(version="rand") == [20, 20]
    assert listed(version="rand", eot_samples=1) == [1, 1]


@pytest.mark.parametrize("attack", [FGSM, APGD, AutoAttack])
def test_what_is_no_number_of_passes_is_refused(attack):
    for value in (0, 1.5, True):
        with pytest.raises(InputError, match=f"`eot_samples`.*eot_samples={value}"):
            attack(eps=0.1, eot_samples=value)

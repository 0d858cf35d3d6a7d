"""Which class an example is moved to, whatever the unit of the pixels."""

import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as to_numpy
from networks import balanced, labelled

from keras_gce.attacks import FMN, JSMA, CarliniWagnerL2
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.take(40).arrays()


def test_targets(xe_model, images):
    x, y = images
    attack = JSMA(seed=4)
    drawn = attack.targets(Classifier(xe_model), x, y, 4)
    assert (drawn != y).all() and len(set((drawn - y) % 10)) > 5
    np.testing.assert_array_equal(drawn, attack.targets(Classifier(xe_model), x, y, 4))
    assert (drawn != attack.targets(Classifier(xe_model), x, y, 5)).any()
    # The images alone do not show the targets: the same call gives the same images.
    np.testing.assert_array_equal(attack(xe_model, x, y), attack(xe_model, x, y))
    least = JSMA(target="least_likely").targets(Classifier(xe_model), x, y, 0)
    z = xe_model.predict(x, verbose=0)
    z[np.arange(len(y)), y] = np.inf
    np.testing.assert_array_equal(least, z.argmin(1))


@pytest.mark.parametrize("attack", [JSMA, CarliniWagnerL2])
def test_a_true_class_is_no_target(xe_model, images, attack):
    x, y = images
    with pytest.raises(InputError, match="Received: target=3"):
        attack(target=3)(xe_model, x, np.full(len(y), 3))


UNIT_FREE = [
    JSMA(gamma=0.2, seed=0),
    JSMA(theta=-0.5, gamma=0.2, seed=0),
    CarliniWagnerL2(max_iterations=60, binary_search_steps=3, seed=0),
    CarliniWagnerL2(target=None, max_iterations=60, binary_search_steps=3),
    FMN(norm="linf", steps=30),
    FMN(norm="l1", steps=30),
]


@pytest.mark.integration
@pytest.mark.parametrize("attack", UNIT_FREE, ids=repr)
def test_the_unit_of_the_pixels_changes_nothing(attack):
    model = balanced(classes=5)
    x, y = labelled(model)
    of_255 = balanced(classes=5, first=[layers.Rescaling(1 / 255)])
    a = to_numpy(attack(model, x, y))
    b = to_numpy(attack.with_bounds((0, 255))(of_255, x * 255, y))
    assert np.abs(a - x).max() > 0.05
    # Rounding may decide one pair or one step of Adam otherwise.
    same = np.abs(a - b / 255).reshape(len(x), -1).max(1) <= 1e-4
    assert same.mean() >= 0.95
    one, other = (
        evaluate(
            m, (images, y), attack, bounds=bounds, progress=False, diagnostics=False
        )
        for m, images, bounds in ((model, x, None), (of_255, x * 255, (0, 255)))
    )
    assert (one.row_robust != other.row_robust).sum() <= 1
    assert one.worst_case_accuracy < 1

"""COT: two updates for each batch, and what the second one shares with the first."""

import keras
import pytest
from training.wrapped import XE, assert_same_weights, fitted, small

from keras_gce import losses, models
from keras_gce.errors import InputError
from keras_gce.training import ComplementObjectiveModel


@pytest.mark.seam
def test_cot_is_two_updates(images):
    x, y = (part[:16] for part in images)
    cot = ComplementObjectiveModel(small())
    cot.compile(keras.optimizers.SGD(0.1), XE, keras.optimizers.SGD(0.3))
    cot.train_on_batch(x, y)
    model = small()
    model.compile(keras.optimizers.SGD(0.1), XE)
    model.train_on_batch(x, y)
    complement = losses.ComplementEntropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3 / 9), complement)
    model.train_on_batch(x, y)
    assert_same_weights(model, cot.model)


@pytest.mark.seam
def test_cot_couples_the_learning_rates(images):
    def halved(epoch, rate):
        return rate / 2

    def rates(**compile):
        compile = {"optimizer": keras.optimizers.SGD(0.1), **compile}
        scheduler = keras.callbacks.LearningRateScheduler(halved)
        cot, _ = fitted(
            ComplementObjectiveModel, images, compile=compile, callbacks=[scheduler]
        )
        optimizers = (cot.optimizer, cot.complement_optimizer)
        return [float(optimizer.learning_rate) for optimizer in optimizers]

    assert rates() == pytest.approx([0.025, 0.025])
    own = keras.optimizers.SGD(0.01, momentum=0.9)
    assert rates(complement_optimizer=own) == pytest.approx([0.025, 0.0025])


@pytest.mark.integration
def test_cot_flattens_the_wrong_classes(digits):
    x, y = digits.train.take(200).arrays()

    def flatness(wrap):
        model, _ = fitted(
            wrap,
            (x, y),
            epochs=10,
            compile={"optimizer": keras.optimizers.Adam(0.01)},
            batch_size=50,
        )
        z = model.predict(x, verbose=0)
        values = losses.complement_entropy(y, z, True, from_logits=True)
        return float(keras.ops.mean(values))

    assert flatness(ComplementObjectiveModel) < flatness(lambda model: model) - 0.1


def test_two_classes_have_no_complement():
    with pytest.raises(InputError, match="at least 3 classes"):
        ComplementObjectiveModel(models.SmallCNN(num_classes=2))

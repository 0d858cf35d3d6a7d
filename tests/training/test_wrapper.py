"""What both wrappers share: data looked at, states saved, the wrapped model's place."""

import keras
import numpy as np
import pytest
from training.wrapped import GCE, WEAK, XE, assert_same_weights, fitted, flat

from keras_gce import losses
from keras_gce.attacks import BIM, FGSM, PGD
from keras_gce.errors import InputError
from keras_gce.training import MART, AdversarialModel, ComplementObjectiveModel
from keras_gce.training.wrapper import reduction_of

ADAM = keras.optimizers.Adam


def weak(model):
    return AdversarialModel(model, WEAK)


def multi_output():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense
    return keras.Model(inputs, [dense(3)(inputs), dense(3)(inputs)])


@pytest.mark.parametrize("wrap", [weak, ComplementObjectiveModel])
@pytest.mark.parametrize(
    ("make", "message"), [(multi_output, "2 outputs"), (lambda: "model", "`model`")]
)
def test_wrong_models(wrap, make, message):
    with pytest.raises(InputError, match=message):
        wrap(make())


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize(
    "optimizer",
    [
        ADAM(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
        ADAM(0.01, gradient_accumulation_steps=2),
        ADAM(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9), clipnorm=1.0),
    ],
    ids=["ema", "accumulation", "schedule"],
)
@pytest.mark.parametrize(
    "wrap",
    [lambda m: AdversarialModel(m, WEAK, 0.5), ComplementObjectiveModel],
    ids=["adversarial", "complement"],
)
def test_optimizers(images, optimizer, wrap):
    optimizer = type(optimizer).from_config(optimizer.get_config())
    compile = {"optimizer": optimizer, "metrics": ["accuracy"]}
    _, history = fitted(wrap, images, epochs=12, compile=compile)
    assert history["loss"][-1] < 0.95 * history["loss"][0]


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize(
    "wrap",
    [lambda m: AdversarialModel(m, WEAK, objective=MART()), ComplementObjectiveModel],
    ids=["adversarial", "complement"],
)
def test_mixed_precision(images, wrap):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        compile = {"optimizer": ADAM(0.01)}
        wrapped, history = fitted(wrap, images, epochs=4, compile=compile)
        assert type(wrapped.optimizer).__name__ == "LossScaleOptimizer"
        assert np.isfinite(history["loss"]).all()
        assert history["loss"][-1] < history["loss"][0]
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.seam
@pytest.mark.parametrize("wrap", [weak, ComplementObjectiveModel])
def test_saved_weights_are_the_wrapped_models(images, tmp_path, wrap):
    wrapped, _ = fitted(wrap, images)
    wrapped.save_weights(tmp_path / "best.weights.h5")
    bare = flat()
    bare.load_weights(tmp_path / "best.weights.h5")
    assert_same_weights(bare, wrapped.model, atol=0)
    wrapped.save_state(tmp_path / "state.weights.h5")
    again = wrap(flat())
    again.compile(keras.optimizers.SGD(0.05), XE)
    again.optimizer.build(again.trainable_variables)
    again.load_state(tmp_path / "state.weights.h5")
    assert_same_weights(again.model, wrapped.model, atol=0)
    assert int(again.optimizer.iterations) == int(wrapped.optimizer.iterations) == 8


class StopError(Exception):
    pass


@pytest.mark.integration
@pytest.mark.seam
@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: AdversarialModel(m, PGD(eps=0.1, steps=2, seed=0)),
        ComplementObjectiveModel,
    ],
    ids=["adversarial", "complement"],
)
def test_backup_and_restore(images, tmp_path, wrap):
    def trained(*callbacks):
        return fitted(
            wrap, images, 3, compile={"optimizer": ADAM(0.01)}, callbacks=[*callbacks]
        )

    def stop(epoch, logs):
        if epoch == 1:
            raise StopError

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole, _ = trained()
    with pytest.raises(StopError):
        trained(backup(), keras.callbacks.LambdaCallback(on_epoch_begin=stop))
    resumed, history = trained(backup())
    assert len(history["loss"]) == 2
    assert_same_weights(whole.model, resumed.model)


@pytest.mark.integration
def test_the_wrapped_model_is_the_product(tf, images, tmp_path):
    compile = {"loss": GCE, "optimizer": "adam", "metrics": ["accuracy"]}
    wrapped, _ = fitted(weak, images, compile=compile)
    x, y = images
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded).__name__ == "Functional"
    assert isinstance(loaded.loss, losses.GuidedComplementEntropy)
    assert int(loaded.optimizer.iterations) == 8
    predicted = loaded.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, wrapped.predict(x, verbose=0))
    attack = BIM(eps=0.1, loss="training", steps=2)
    np.testing.assert_array_equal(attack(loaded, x, y), attack(wrapped, x, y))
    # Served without Keras.
    wrapped.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(x), predicted, atol=1e-4)


@pytest.mark.parametrize(
    "spoil,received",
    [
        (lambda x, y: (x * 255, y), "to 255.0"),
        (lambda x, y: (np.where(x > 0.5, np.nan, x), y), "nan"),
        (lambda x, y: (x - 0.5, y), "from -0.5"),
        (lambda x, y: (x, y + 5), "Received: 1[0-4]"),
        (lambda x, y: (x, y + 0.5), r"Received: \d+.5"),
        (lambda x, y: (x, np.stack([y, y], -1)), r"shape \(64, 2\)"),
        (lambda x, y: (x[..., 0], y), "without the axis of the channel"),
        (lambda x, y: ([x, x], y), "x with 2"),
        (lambda x, y: (x,), "no labels"),
        (lambda x, y: ({"image": x},), "no labels"),
    ],
)
def test_fit_looks_at_its_first_batch(images, spoil, received):
    model = flat()
    before = model.get_weights()
    wrapped = AdversarialModel(model, WEAK)
    wrapped.compile("adam", XE)
    with pytest.raises(InputError, match=received) as error:
        wrapped.fit(*spoil(*images), verbose=0)
    assert "\n" not in str(error.value)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", ["PyDataset", "generator"])
def test_fit_looks_at_every_form_of_data_and_loses_no_batch(images, form):
    x, y = images

    class Batches(keras.utils.PyDataset):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def __len__(self):
            return 4

        def __getitem__(self, i):
            some = slice(16 * i, 16 * i + 16)
            return x[some] * np.float32(self.scale), y[some]

    def generator(scale):
        for batch in (Batches(scale)[i] for i in range(4)):
            seen.append(scale)
            yield batch

    data, seen = Batches if form == "PyDataset" else generator, []
    wrapped = weak(flat())
    wrapped.compile(keras.optimizers.SGD(0.05), XE)
    with pytest.raises(InputError, match="to 255.0"):
        wrapped.fit(data(255), verbose=0)
    assert len(seen) <= 1
    wrapped.fit(data(1), verbose=0)
    plain = flat()
    plain.compile(keras.optimizers.SGD(0.05), XE)
    plain.fit(data(1), verbose=0)
    # Keras itself counts 5 where a generator of 4 batches ends.
    updates = int(wrapped.optimizer.iterations)
    assert updates == int(plain.optimizer.iterations) >= 4


def test_a_tf_dataset_is_looked_at(tf, images):
    x, y = images
    wrapped = weak(flat())
    wrapped.compile("adam", XE)
    data = tf.data.Dataset.from_tensor_slices((x * 255, y)).batch(16)
    with pytest.raises(InputError, match="to 255.0"):
        wrapped.fit(data, verbose=0)


def test_every_fit_is_looked_at(images):
    x, y = images
    wrapped = weak(flat())
    wrapped.compile("adam", XE)
    wrapped.fit(x, y, verbose=0)
    with pytest.raises(InputError, match="to 255.0"):
        wrapped.fit(x * 255, y, verbose=0)


@pytest.mark.parametrize(
    "make,received",
    [
        (lambda x, y: (x, np.eye(10)[y] * 2), "sums from 2 to 2"),
        (lambda x, y: ((part for part in [(x,)]), None), "no labels"),
    ],
)
def test_labels_that_no_compiled_step_could_refuse(images, make, received):
    wrapped = weak(flat())
    wrapped.compile("adam", GCE)
    with pytest.raises(InputError, match=received):
        wrapped.fit(*make(*images), verbose=0)


def test_the_attack_is_asked_about_the_first_batch(images):
    wrapped = AdversarialModel(flat(2), PGD(eps=0.1, loss="dlr"))
    wrapped.compile("adam", XE)
    with pytest.raises(InputError, match="Received: 2 classes"):
        wrapped.fit(images[0], images[1] % 2, verbose=0)


def test_staying_at_chance_warns(images):
    x, y = images
    model = AdversarialModel(flat(), FGSM(eps=1.0))
    model.compile(keras.optimizers.SGD(0.0), XE, metrics=["accuracy"])
    model.model.set_weights([np.zeros_like(w) for w in model.model.get_weights()])
    # All get class 0, which none has.
    with pytest.warns(UserWarning, match="stayed at chance.*warmup_steps"):
        model.fit(x, np.maximum((y + 1) % 10, 1), verbose=0)


@pytest.mark.parametrize("accuracy,warns", [(0.004, True), (0.02, False)])
def test_the_warning_speaks_of_200_classes(accuracy, warns, recwarn):
    # 0.5% is chance there; 2% is four times that, and was warned of.
    wrapped = weak(flat(200))
    wrapped.warn_at_chance({"loss": 1.0, "accuracy": accuracy})
    messages = [str(w.message) for w in recwarn if "chance" in str(w.message)]
    assert [("200 classes" in m, "warmup_steps" in m) for m in messages] == [
        (True, True)
    ] * warns


def test_the_warning_does_not_advise_what_was_given(recwarn):
    wrapped = AdversarialModel(flat(), WEAK, warmup_steps=10)
    wrapped.warn_at_chance({"accuracy": 0.1})
    (message,) = [str(w.message) for w in recwarn if "chance" in str(w.message)]
    assert "warmup_steps" not in message and "smaller `eps`" in message


@pytest.mark.parametrize(
    "loss,reduction",
    [
        (keras.losses.MeanSquaredError(reduction="sum"), "sum"),
        ({"c": keras.losses.MeanSquaredError(reduction="sum")}, "sum"),
        ([None, keras.losses.MeanSquaredError(reduction="sum")], "sum"),
        ("mse", "sum_over_batch_size"),
        (keras.losses.mean_squared_error, "sum_over_batch_size"),
        (keras.losses.MeanSquaredError(reduction=None), "sum_over_batch_size"),
    ],
    ids=range(6),
)
def test_reductions(loss, reduction):
    assert reduction_of(loss) == reduction

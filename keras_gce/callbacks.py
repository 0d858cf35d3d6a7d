"""`RobustAccuracy`: the accuracy under attack, in the logs of `fit`."""

import keras

from keras_gce.attacks.base import check_integer
from keras_gce.attacks.logits import unwrap
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate

__all__ = ["RobustAccuracy"]


class RobustAccuracy(keras.callbacks.Callback):
    """Adds the accuracy under an attack to the logs, as `val_robust_accuracy`.

    It stands before the callbacks that read the logs (`EarlyStopping`,
    `ModelCheckpoint`, `TensorBoard`) in the list; KerasTuner finds it as the objective
    `keras_tuner.Objective("val_robust_accuracy", "max")`. Of a model that wraps
    another, such as `AdversarialModel`, the wrapped one is attacked.

    Usage:

    ```python
    robust = RobustAccuracy((val_images, val_labels), PGD(eps=0.1, steps=20))
    stop = keras.callbacks.EarlyStopping("val_robust_accuracy", mode="max", patience=3)
    model.fit(images, labels, epochs=50, callbacks=[robust, stop])
    ```

    Args:
        data: Images and labels of a part that is held out: a pair of arrays, a
            `Split`, or a `tf.data.Dataset`.
        attack: One attack, or a list of attacks, of which the worst case counts for
            each example. Each ascends its own loss: give attacks through several
            losses where the training loss may hide its gradient.
        every: Epochs between two measurements, an integer >= 1; the last epoch is
            measured too, and an epoch without a measurement has no
            `val_robust_accuracy`. Defaults to 1.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.

    Raises:
        InputError: If an argument is not as described.
    """

    def __init__(self, data, attack, every=1, batch_size=500):
        super().__init__()
        check_integer("every", every, least=1)
        check_integer("batch_size", batch_size, least=1)
        if not attack:
            raise InputError("`attack` must be at least one attack. Received: none")
        self.data = data
        self.attack = attack
        self.every = every
        self.batch_size = batch_size

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or not (last or (epoch + 1) % self.every == 0):
            return
        report = evaluate(
            unwrap(self.model),
            self.data,
            self.attack,
            threat_model=None,
            batch_size=self.batch_size,
            progress=False,
            worst_case_only=True,
        )
        logs["val_robust_accuracy"] = report.worst_case_accuracy

    def __deepcopy__(self, memo):
        # KerasTuner copies its callbacks for each trial; the data need not be.
        return type(self)(self.data, self.attack, self.every, self.batch_size)

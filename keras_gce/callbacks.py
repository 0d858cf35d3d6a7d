"""`RobustAccuracy`: the accuracy under attack, in the logs of `fit`."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.checks import check_integer
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation.door import read
from keras_gce.evaluation.plan import asked, make_plan
from keras_gce.evaluation.run import run_plan

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
        data: Images and labels of a part that is held out, in the forms that
            `keras_gce.evaluate` takes. They are read once, in the first measurement.
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

    def __init__(
        self,
        data: Any,
        attack: Attack | Sequence[Attack],
        every: int = 1,
        batch_size: int = 500,
    ) -> None:
        super().__init__()
        check_integer("every", every, least=1)
        check_integer("batch_size", batch_size, least=1)
        if not attack:
            raise InputError("`attack` must be at least one attack. Received: none")
        self.data = data
        self.attack = attack
        self.every = every
        self.batch_size = batch_size
        self._checked: tuple[np.ndarray, np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, where it is due."""
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or not (last or (epoch + 1) % self.every == 0):
            return
        classifier = Classifier(self.model)
        given = asked(self.attack, None)
        x, y = self._checked or read(classifier, given, self.data)
        plan = make_plan(given, None, classifier, worst_case_only=True)
        if self._checked is None:
            for attack in plan.attacks:
                attack.check(classifier, x, y)
            self._checked = x, y
        clean = classifier.right(x, y, self.batch_size)
        outcomes = run_plan(plan, classifier, x, y, clean, self.batch_size)
        left = [outcome.robust for outcome in outcomes]
        logs["val_robust_accuracy"] = float((clean & np.all(left, axis=0)).mean())

    def __deepcopy__(self, memo: dict[int, Any]) -> "RobustAccuracy":
        # KerasTuner copies its callbacks for each trial; the data need not be.
        return type(self)(self.data, self.attack, self.every, self.batch_size)

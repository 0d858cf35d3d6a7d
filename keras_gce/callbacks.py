"""What watches `fit`: the accuracy under attack, and one-step training's failure."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks import PGD
from keras_gce.attacks.base import Attack
from keras_gce.checks import check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation.door import read
from keras_gce.evaluation.plan import asked, make_plan
from keras_gce.evaluation.run import run_plan
from keras_gce.per_feature import resized
from keras_gce.training import AdversarialModel
from keras_gce.training.averages import set_averages

__all__ = ["CatastrophicOverfitting", "RobustAccuracy"]


class _Measured(keras.callbacks.Callback):
    """Measures once an epoch, of the weights that the epoch is validated with.

    Whoever changes weights for a validation, as `SwapEMAWeights` does, has done so
    before its first batch, wherever it stands in the list; after the validation they
    are others again. An epoch without one is measured at its end.

    Args:
        data: Images and labels, in the forms that `keras_gce.evaluate` takes.
        every: Epochs between two measurements, >= 1.
        batch_size: Most images attacked at once, >= 1.

    Attributes:
        count: The number of images, once they are read.
    """

    def __init__(self, data: Any, every: int, batch_size: int) -> None:
        super().__init__()
        check_integer("every", every, least=1)
        check_integer("batch_size", batch_size, least=1)
        self.data = data
        self.every = every
        self.batch_size = batch_size
        self.count = 0
        self._checked: tuple[np.ndarray, np.ndarray] | None = None
        # The epoch that is not measured yet, and what was measured in it.
        self._due: int | None = None
        self._found: dict[str, float] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks whether this epoch is one to measure."""
        last = epoch + 1 == (self.params or {}).get("epochs")
        self._due = epoch if last or (epoch + 1) % self.every == 0 else None
        self._found = None

    def on_test_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Measures at the first batch of an epoch's validation."""
        if self._due is not None and self._found is None:
            self._found = self.measure(self._due)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds what was measured to the logs, where it is due."""
        if self._due != epoch or logs is None:
            return
        logs.update(self._found or self.measure(epoch))
        self._due = None

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns what the logs get."""
        raise NotImplementedError

    def left_by(self, attack: Attack | Sequence[Attack]) -> float:
        """Returns the share of the data that is right before and after an attack."""
        classifier = Classifier(self.model)
        given = asked(attack, None)
        if self._checked is None:
            self._checked = read(classifier, given, self.data)
        x, y = self._checked
        plan = make_plan(given, None, classifier, worst_case_only=True)
        for one in plan.attacks:
            one.check(classifier, x, y)
        self.count = len(y)
        clean = classifier.right(x, y, self.batch_size)
        outcomes = run_plan(plan, classifier, x, y, clean, self.batch_size)
        left = [outcome.robust for outcome in outcomes]
        return float((clean & np.all(left, axis=0)).mean())


class RobustAccuracy(_Measured):
    """Adds the accuracy under an attack to the logs, as `val_robust_accuracy`.

    It stands before the callbacks that read the logs (`EarlyStopping`,
    `ModelCheckpoint`, `TensorBoard`) in the list; KerasTuner finds it as the objective
    `keras_tuner.Objective("val_robust_accuracy", "max")`. Of a model that wraps
    another, such as `AdversarialModel`, the wrapped one is attacked.

    The weights that are attacked are those that `val_accuracy` is of: with
    `keras.callbacks.SwapEMAWeights` the averaged ones, wherever the two stand in the
    list. In an epoch without validation they are those that the model has when this
    callback's turn comes.

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
        super().__init__(data, every, batch_size)
        if not attack:
            raise InputError("`attack` must be at least one attack. Received: none")
        self.attack = attack

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns what the logs get."""
        return {"val_robust_accuracy": self.left_by(self.attack)}

    def __deepcopy__(self, memo: dict[int, Any]) -> "RobustAccuracy":
        # KerasTuner copies its callbacks for each trial; the data need not be.
        return type(self)(self.data, self.attack, self.every, self.batch_size)


class CatastrophicOverfitting(_Measured):
    """Stops one-step training where it fails, and gives back the weights of before.

    A network trained on one-step attacks may learn, within an epoch, to withstand
    these and nothing else: the accuracy under the training attack stays, that under
    PGD falls to nothing. Both are measured on a held-out part after each epoch, of the
    weights that `val_accuracy` is of (see `RobustAccuracy`), and stand in the logs as
    `val_attack_accuracy` and `val_pgd_accuracy`.

    Where PGD's has lost `drop` of its best so far and the training attack's has not,
    training stops with a warning, and at its end the model has exactly the weights that
    PGD's best was measured of; an optimizer that averages weights (`use_ema`) has them
    as its averages too, the rest of its state stays. Otherwise nothing is changed. A
    best that a constant prediction may have, and a loss within three standard errors of
    so many images, are no sign.

    Usage:

    ```python
    attack = PGD(eps=0.1, step_size=1.25 * 0.1, steps=1)
    adversarial = AdversarialModel(model, attack)
    adversarial.compile("adam", loss)
    watch = CatastrophicOverfitting((val_images, val_labels), eps=0.1)
    adversarial.fit(images, labels, epochs=30, callbacks=[watch])
    ```

    Args:
        data: Images and labels of a part that is held out, in the forms that
            `keras_gce.evaluate` takes. They are read once, in the first measurement.
        eps: Radius of PGD (10 steps of eps / 4, in the training attack's norm and
            bounds), > 0; that of the training. Where features have radii of their own
            there, the greatest of PGD's, which are in proportion.
        drop: The share of its best that PGD's accuracy has to lose, in (0, 1).
            Defaults to 0.5.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.

    Attributes:
        stopped_epoch: The epoch, from 0 on, after which training was stopped; `None`
            where it was not.
        best_epoch: The epoch of PGD's best.

    Raises:
        InputError: If an argument is not as described, or the model in training is no
            `AdversarialModel`.

    Reference:
        Wong et al., "Fast is Better than Free: Revisiting Adversarial Training", ICLR
        2020 (arXiv 2001.03994), section 5.3. Their code looks at one batch of the
        training images, for a fall by 0.2.
    """

    def __init__(
        self, data: Any, eps: float, drop: float = 0.5, batch_size: int = 500
    ) -> None:
        super().__init__(data, 1, batch_size)
        for name, value in (("eps", eps), ("drop", drop)):
            check_number(name, value, least=0)
            if not value or (name == "drop" and value >= 1):
                wanted = "in (0, 1)" if name == "drop" else "> 0"
                raise InputError(
                    f"`{name}` must be a number {wanted}. Received: {name}={value}"
                )
        self.eps = eps
        self.drop = drop
        self._begin()

    def _begin(self) -> None:
        self.stopped_epoch: int | None = None
        self.best_epoch = 0
        self._best: dict[str, float] | None = None
        self._weights: list[np.ndarray] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins anew, on a model whose training attack is known."""
        if not isinstance(self.model, AdversarialModel):
            raise InputError(
                "`model` must be an AdversarialModel for CatastrophicOverfitting. "
                f"Received: model={self.model!r}"
            )
        self._begin()

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns what the logs get, and keeps the weights where they are the best."""
        model = self.model
        training = model.attack
        pgd = PGD(
            eps=resized(training.eps, self.eps),
            steps=10,
            norm=training.norm,
            bounds=training.bounds,
            seed=0,
        )
        found = {
            "val_attack_accuracy": self.left_by(training),
            "val_pgd_accuracy": self.left_by(pgd),
        }
        best = self._best
        if best is None or found["val_pgd_accuracy"] > best["val_pgd_accuracy"]:
            self.best_epoch, self._best = epoch, found
            self._weights = model.get_weights()
        return found

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds what was measured to the logs, and stops where training has failed."""
        logs = {} if logs is None else logs
        super().on_epoch_end(epoch, logs)
        best = self._best
        if best is None or self.stopped_epoch is not None:
            return
        if self._failed(best, logs):
            self.stopped_epoch = epoch
            self.model.stop_training = True
            warnings.warn(
                f"Catastrophic overfitting in epoch {epoch + 1}: "
                f"{logs['val_attack_accuracy']:.1%} under the training attack, "
                f"{logs['val_pgd_accuracy']:.1%} under PGD, which was "
                f"{best['val_pgd_accuracy']:.1%} in epoch {self.best_epoch + 1}. "
                "Training stops; the weights of that epoch are given back",
                stacklevel=2,
            )

    def _failed(self, best: dict[str, float], now: dict[str, float]) -> bool:
        """Whether PGD's accuracy is lost, and the training attack's is not."""
        high, low = best["val_pgd_accuracy"], now["val_pgd_accuracy"]
        chance, count = 1 / self.model.num_classes, self.count
        return (
            high > 1.5 * chance
            and high - low > 3 * math.sqrt(high * (1 - high) / count)
            and low <= (1 - self.drop) * high
            and now["val_attack_accuracy"]
            > (1 - self.drop) * best["val_attack_accuracy"]
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives back the weights of before, where training has failed."""
        # Not sooner: what ends `fit` may put averages in their place.
        if self.stopped_epoch is not None:
            self.model.set_weights(self._weights)
            set_averages(self.model.optimizer)
        self._weights = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "CatastrophicOverfitting":
        # KerasTuner copies its callbacks for each trial; the data need not be.
        return type(self)(self.data, self.eps, self.drop, self.batch_size)

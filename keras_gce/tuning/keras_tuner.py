"""The adapter to KerasTuner: all that is known here of its tuners and their insides."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

try:
    import keras_tuner
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'The search must have KerasTuner installed: pip install "keras_gce[tune]". '
        f"Received: {error}",
        name=error.name,
    ) from None

from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.seeds import seeded
from keras_gce.tuning.results import OBJECTIVES, AlphaTrial

__all__ = [
    "AlphaHyperModel",
    "GridOracle",
    "is_worker",
    "kept_state",
    "load_model",
    "make_tuner",
    "trial_folder",
    "trials_of",
]


class AlphaHyperModel(keras_tuner.HyperModel):
    """Builds, compiles and trains the model of a trial.

    Args:
        build_model: Callable `(hp)` -> an uncompiled `keras.Model`.
        alphas: The exponents.
        grid: Whether each of them is tried, rather than the range of them.
        optimizer: Name of an optimizer, or callable `(hp)` -> an optimizer.
        train: Callable that returns the batches for training, anew for each trial.
        validation: Callable that returns those for the objective.
        seed: Decides the initial weights and what is random in the training.
    """

    def __init__(
        self,
        build_model: Callable[[Any], keras.Model],
        alphas: Sequence[float],
        grid: bool,
        optimizer: str | Callable[[Any], keras.optimizers.Optimizer],
        train: Callable[[], Any],
        validation: Callable[[], Any],
        seed: int,
    ) -> None:
        super().__init__()
        self.build_model = build_model
        self.alphas = alphas
        self.grid = grid
        self.optimizer = optimizer
        self.train = train
        self.validation = validation
        self.seed = seed

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns the compiled model at a trial's hyperparameters."""
        # Every trial anew, so that it doesn't depend on those before it.
        with seeded(self.seed):
            return self._compiled(hp)

    def _compiled(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        if self.grid:
            alpha = hp.Choice("alpha", list(self.alphas))
        else:
            alpha = hp.Float("alpha", min(self.alphas), max(self.alphas))
        model = self.build_model(hp)
        if not isinstance(model, keras.Model):
            raise InputError(
                f"`build_model` must return a keras.Model. Received: {model!r}"
            )
        classifier, optimizer = Classifier(model), self.optimizer
        if classifier.num_classes < 3:
            raise InputError(
                "`build_model` must return a model of at least 3 classes: guided "
                "complement entropy is about the wrong ones among themselves. "
                f"Received: {model.name}, of {classifier.num_classes} classes"
            )
        loss = GuidedComplementEntropy(alpha, from_logits=classifier.from_logits)
        model.compile(
            optimizer(hp) if callable(optimizer) else optimizer,
            loss,
            metrics=["accuracy"],
        )
        # KerasTuner loads weights into a new model, the optimizer's too.
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, **settings: Any
    ) -> keras.callbacks.History:
        """Trains the model; what `search` was called with comes as `settings`."""
        # Also for the random starts of the attack after each epoch.
        with seeded(self.seed):
            return model.fit(
                self.train(),
                validation_data=self.validation(),
                shuffle=False,
                **{**settings, "verbose": 0},
            )


class GridOracle(keras_tuner.oracles.GridSearchOracle):
    """KerasTuner's grid, which continues after a kill.

    KerasTuner 1.4 writes down the trials, but not the order in which its grid walks
    over them: reloaded, it fails after the trial that was killed. That order, and which
    trials have no successor yet, are private to its `GridSearchOracle`: a test says
    which of the names has changed, and another one when this class may go.
    """

    def set_state(self, state: dict[str, Any]) -> None:
        """Reloads what was written down, and puts the trials in the grid's order."""
        super().set_state(state)

        def compared(one: str, other: str) -> int:
            return self._compare(
                self.trials[one].hyperparameters.values,
                self.trials[other].hyperparameters.values,
            )

        ordered = sorted(self.start_order, key=functools.cmp_to_key(compared))
        for trial_id in ordered:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(ordered)


def make_tuner(
    kind: str,
    hypermodel: keras_tuner.HyperModel,
    objective: str,
    max_trials: int | None,
    epochs: int,
    folder: pathlib.Path,
    seed: int,
) -> keras_tuner.Tuner:
    """Returns KerasTuner's tuner for a search, with the trials that its folder has.

    Args:
        kind: A name in `keras_gce.names.TUNERS`.
        hypermodel: The `keras_tuner.HyperModel`.
        objective: A name in `OBJECTIVES`.
        max_trials: Most trials; `None`: all of a grid, 10 of "bayesian". Hyperband
            knows its own.
        epochs: The most epochs of a trial.
        folder: The folder of the search.
        seed: Decides what is random in the tuner.
    """
    settings = {
        "objective": keras_tuner.Objective(objective, OBJECTIVES[objective]),
        "seed": seed + 1,  # KerasTuner takes a seed of 0 for none.
    }
    place = {"directory": str(folder), "project_name": "trials"}
    if kind == "hyperband":
        return keras_tuner.Hyperband(hypermodel, max_epochs=epochs, **settings, **place)
    if kind == "bayesian":
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=max_trials or 10, **settings
        )
    else:
        oracle = GridOracle(max_trials=max_trials, **settings)
    return keras_tuner.Tuner(oracle, hypermodel, **place)


@contextlib.contextmanager
def kept_state(seed: int) -> Iterator[None]:
    """Seeds a block of code, and puts back what KerasTuner clears before each model.

    That is Keras's random streams and its dtype policy.
    """
    policy = keras.config.dtype_policy()
    with seeded(seed):
        try:
            yield
        finally:
            keras.config.set_dtype_policy(policy)


def is_worker(tuner: keras_tuner.Tuner) -> bool:
    """Returns whether the trials are another process's, the chief's, to judge."""
    # Where there is a chief, KerasTuner gives the others a client in place of an
    # oracle, and has no public word for it.
    return not isinstance(tuner.oracle, keras_tuner.Oracle)


def trials_of(tuner: keras_tuner.Tuner) -> list[AlphaTrial]:
    """Returns the trials as KerasTuner left them, without what attacks say of them."""
    trials = []
    for trial_id, trial in sorted(tuner.oracle.trials.items()):
        completed = trial.status == "COMPLETED"
        trials.append(
            AlphaTrial(
                trial_id=trial_id,
                status=trial.status,
                values=dict(trial.hyperparameters.values),
                epoch=int(trial.best_step) if completed else None,
                score=float(trial.score) if completed else None,
                message=None if completed else trial.message,
            )
        )
    return trials


def load_model(tuner: keras_tuner.Tuner, trial_id: str) -> keras.Model:
    """Returns the compiled model of a trial, as after its best epoch."""
    return tuner.load_model(tuner.oracle.trials[trial_id])


def trial_folder(tuner: keras_tuner.Tuner, trial_id: str) -> pathlib.Path:
    """Returns the folder that KerasTuner keeps a trial in."""
    return pathlib.Path(tuner.get_trial_dir(trial_id))

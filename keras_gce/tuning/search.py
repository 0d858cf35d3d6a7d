"""`search_alpha`: the exponent of guided complement entropy, searched by KerasTuner."""

import contextlib
import dataclasses
import functools
import io
import json
import pathlib
import warnings
import zlib

import keras
import keras_tuner
import numpy as np

from keras_gce import datasets, evaluation, files, plotting, saving
from keras_gce.attacks import Attack
from keras_gce.callbacks import RobustAccuracy
from keras_gce.checks import check_integer, check_number, check_seed
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.seeds import seeded

__all__ = ["AlphaSearch", "AlphaTrial", "search_alpha"]

OBJECTIVES = {
    "val_robust_accuracy": "max",
    "val_accuracy": "max",
    "val_loss": "min",
    "accuracy": "max",
    "loss": "min",
}
PROJECT = "trials"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaTrial:
    """One trial of a search: what was tried, and how the best epoch's model did.

    Args:
        trial_id: KerasTuner's name of it.
        status: KerasTuner's: "COMPLETED", "FAILED", ...; only of completed trials is
            there more than the values.
        values: Dict of all hyperparameters, alpha among them.
        epoch: The best epoch by the objective, counted from 0.
        score: The objective there.
        clean_accuracy: Share of the validation images that is right.
        crossentropy_accuracy: Share that is right under the attack through
            cross-entropy.
        adaptive_accuracy: Share that is right whichever loss the attack ascends.
        message: Why it failed.
    """

    trial_id: str
    status: str
    values: dict
    epoch: int | None = None
    score: float | None = None
    clean_accuracy: float | None = None
    crossentropy_accuracy: float | None = None
    adaptive_accuracy: float | None = None
    message: str | None = None

    @property
    def alpha(self):
        """The exponent."""
        return self.values["alpha"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AlphaSearch:
    """What `search_alpha` returns.

    Args:
        objective: Name of the objective.
        attack: The attack, as text.
        clean_floor: The least clean accuracy that the best trial had to have.
        trials: List of `AlphaTrial`, in KerasTuner's order.
        best: The best of them.
        best_model: Its `keras.Model`, compiled, as after its best epoch.
    """

    objective: str
    attack: str
    clean_floor: float | None
    trials: list
    best: AlphaTrial
    best_model: keras.Model

    @property
    def best_alpha(self):
        """The exponent of the best trial."""
        return self.best.alpha

    @property
    def completed(self):
        """List of the trials that were completed."""
        return [trial for trial in self.trials if trial.status == "COMPLETED"]

    def to_dict(self):
        """Returns everything but the model as a dict of what JSON can hold."""
        return {
            "objective": self.objective,
            "attack": self.attack,
            "clean_floor": self.clean_floor,
            "best_alpha": self.best_alpha,
            "best_trial": self.best.trial_id,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }

    def to_markdown(self):
        """Returns the trials as a Markdown table, accuracies in %."""
        others = sorted({name for t in self.trials for name in t.values} - {"alpha"})
        columns = ["trial", "alpha", *others, "best epoch", self.objective]
        columns += ["clean", "robust, cross-entropy", "robust, adaptive"]
        lines = [
            f"Attack: {self.attack}. Best alpha by {self.objective}"
            + (
                f" with a clean accuracy of at least {100 * self.clean_floor:g}%"
                if self.clean_floor
                else ""
            )
            + f": {self.best_alpha:.4g}.",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        for trial in self.trials:
            cells = [trial.trial_id + " (best)" * (trial is self.best)]
            for name in ("alpha", *others):
                value = trial.values.get(name, "–")
                cells.append(f"{value:.4g}" if isinstance(value, float) else str(value))
            if trial.status != "COMPLETED":
                cells += [trial.status.lower()] + ["–"] * 4
            else:
                cells += [
                    str(trial.epoch + 1),
                    f"{trial.score:.4f}",
                    f"{100 * trial.clean_accuracy:.2f}",
                    f"{100 * trial.crossentropy_accuracy:.2f}",
                    f"{100 * trial.adaptive_accuracy:.2f}",
                ]
            lines.append(f"| {' | '.join(cells)} |")
        adaptive = max(self.completed, key=lambda trial: trial.adaptive_accuracy)
        if adaptive.adaptive_accuracy > self.best.adaptive_accuracy:
            lines += [
                "",
                f"Under the adaptive threat model alpha {adaptive.alpha:.4g} (trial "
                f"{adaptive.trial_id}) keeps more. Where that is many images, part of "
                "the best trial's score is a mask: attack through several losses.",
            ]
        return "\n".join(lines) + "\n"


def search_alpha(
    build_model,
    train,
    validation,
    attack,
    alphas=(1 / 2, 1 / 3, 1 / 4, 1 / 5),
    tuner="grid",
    epochs=20,
    directory="alpha_search",
    batch_size=128,
    optimizer="adam",
    max_trials=None,
    objective="val_robust_accuracy",
    clean_floor=None,
    seed=0,
    verbose=1,
):
    """Searches alpha, and any other hyperparameter that `build_model` asks for.

    KerasTuner trains a model with `GuidedComplementEntropy(alpha)` for each trial and
    keeps its best epoch by the objective; the best models are then attacked under the
    threat model "adaptive". The default objective is the accuracy on the validation
    part under the attack, through the attack's own loss, or under all of several
    attacks. Let that be cross-entropy and the margin loss, as in the example: an alpha
    picked under an attack through GCE is the one that hides its gradient best.

    The search is kept in `directory`, and the same call continues there: finished
    trials are not run again, one that was killed starts again. On several machines
    that share the folder, KerasTuner's environment variables make each call the chief
    or one of the workers: see docs/guides/scaling.md.

    Usage:

    ```python
    def build_model(hp):
        return keras_gce.models.LeNet5()

    attacks = [PGD(eps=0.1), PGD(eps=0.1, loss="margin")]
    search = search_alpha(build_model, data.train, data.validation, attacks)
    print(search.to_markdown())
    search.best_model.save("best.keras")
    ```

    Args:
        build_model: Callable `(hp)` -> an uncompiled `keras.Model` of at least 3
            classes, with logits or softmax at its end, or an `AdversarialModel`; `hp`
            is KerasTuner's.
        train: Images and labels for training: a pair of arrays, a `Split`, or a
            `tf.data.Dataset` of batches.
        validation: Those for the objective, in the same forms.
        attack: An attack that ascends a loss, such as FGSM, BIM, PGD or MIM, or a list
            of them.
        alphas: The exponents, each >= 0: those that are tried, with `tuner="grid"`;
            otherwise their least and greatest are the ends of a range. Defaults to
            the paper's (1/2, 1/3, 1/4, 1/5).
        tuner: `"grid"`, `"bayesian"` or `"hyperband"`: KerasTuner's. Defaults to
            `"grid"`.
        epochs: Epochs of a trial, >= 1; with Hyperband the most. Defaults to 20.
        directory: Path of the folder for trials, `alpha_search.json`,
            `alpha_search.md`, `alpha_search.png` and `best_model.keras`. Defaults to
            "alpha_search".
        batch_size: Images in a batch, >= 1. Defaults to 128.
        optimizer: Name of an optimizer, or callable `(hp)` -> an optimizer. Defaults
            to `"adam"`.
        max_trials: Most trials, >= 1; not for Hyperband, which knows its own.
            Defaults to `None`: all of a grid, 10 of `"bayesian"`.
        objective: Name in the logs that the search is for: "val_robust_accuracy",
            "val_accuracy", "val_loss", "accuracy" or "loss". Defaults to
            "val_robust_accuracy".
        clean_floor: Least clean accuracy on the validation part, in [0, 1], that the
            best trial must have. Defaults to `None`.
        seed: Decides the initial weights (the same for every trial), the orders and
            the tuner, an integer in [0, 2**31). Defaults to 0. The caller's random
            streams are left as they are.
        verbose: 0 for silence, 1 for KerasTuner's display. Defaults to 1.

    Returns:
        An `AlphaSearch`; of a worker among several machines `None`, since the chief
        has the result.

    Raises:
        InputError: If an argument is not as described, `directory` holds a search of
            other settings, or no trial reaches `clean_floor`.
        RuntimeError: If no trial could be completed; with the first one's error.
    """
    alphas = _checked_alphas(alphas, tuner)
    check_integer("epochs", epochs, least=1)
    check_integer("batch_size", batch_size, least=1)
    check_seed(seed)
    if max_trials is not None:
        check_integer("max_trials", max_trials, least=1)
    if objective not in OBJECTIVES:
        raise InputError(
            f"`objective` must be one of {', '.join(OBJECTIVES)}, which the logs have. "
            f"Received: objective={objective!r}"
        )
    if clean_floor is not None:
        check_number("clean_floor", clean_floor, least=0, most=1)
    attacks = attack if isinstance(attack, (list, tuple)) else [attack]
    if not attacks or not all(
        isinstance(a, Attack) and a.loss is not None for a in attacks
    ):
        raise InputError(
            "`attack` must be one that ascends a loss (FGSM, BIM, PGD, MIM, ...), or a "
            f"list of such. Received: attack={attack!r}"
        )
    if any(a.loss == "training" for a in attacks):
        warnings.warn(
            "The attack ascends the training loss: the alpha that it finds robust may "
            'be the one that hides its gradient best. Leave loss="crossentropy".',
            stacklevel=2,
        )
    data = _Data(train, validation, batch_size, seed)
    directory = files.claim(
        directory,
        "search.json",
        {
            "alphas": alphas,
            "tuner": tuner,
            "epochs": epochs,
            "batch_size": batch_size,
            "objective": objective,
            "attack": repr(attack),
            "seed": seed,
            "validation": data.fingerprint(),
        },
    )
    with _keras_state(seed):
        search = _tuner(
            tuner,
            hypermodel=_HyperModel(build_model, alphas, tuner, optimizer, data),
            objective=keras_tuner.Objective(objective, OBJECTIVES[objective]),
            max_trials=max_trials,
            epochs=epochs,
            directory=directory,
            seed=seed,
        )
        robust = RobustAccuracy(data.validation, attack)
        search.search(epochs=epochs, callbacks=[robust], verbose=verbose)
        if not isinstance(search.oracle, keras_tuner.Oracle):  # a worker
            return None
        return _result(search, attack, attacks, data, objective, clean_floor, directory)


@contextlib.contextmanager
def _keras_state(seed):
    """Puts back what KerasTuner clears before each model: Keras's seed and policy."""
    policy = keras.config.dtype_policy()
    with seeded(seed):
        try:
            yield
        finally:
            keras.config.set_dtype_policy(policy)


class _Data:
    """The images: in batches for training, as arrays for the attacks."""

    def __init__(self, train, validation, batch_size, seed):
        self.train = self._split("train", train)
        self.validation = self._split("validation", validation)
        self.batch_size = batch_size
        self.seed = seed

    @staticmethod
    def _split(name, data):
        if isinstance(data, datasets.Split) or hasattr(data, "element_spec"):
            return data
        try:
            images, labels = data
        except (TypeError, ValueError) as error:
            raise InputError(
                f"`{name}` must be a pair of arrays, a Split or a tf.data.Dataset. "
                f"Received: {type(data).__name__}"
            ) from error
        labels = np.asarray(labels)
        return datasets.Split(images, labels.reshape(len(labels), -1)[:, 0])

    def batches(self, part, **settings):
        if isinstance(part, datasets.Split):
            return part.batches(self.batch_size, **settings)
        return part

    def fingerprint(self):
        if not isinstance(self.validation, datasets.Split):
            return "tf.data"
        labels = np.ascontiguousarray(self.validation.labels)
        return f"{len(labels)} examples, labels {zlib.crc32(labels.tobytes()):08x}"


class _HyperModel(keras_tuner.HyperModel):
    def __init__(self, build_model, alphas, tuner, optimizer, data):
        super().__init__()
        self.build_model = build_model
        self.alphas = alphas
        self.tuner = tuner
        self.optimizer = optimizer
        self.data = data

    def build(self, hp):
        # Every trial anew, so that it doesn't depend on those before it.
        with seeded(self.data.seed):
            return self._compiled(hp)

    def _compiled(self, hp):
        if self.tuner == "grid":
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

    def fit(self, hp, model, **settings):
        data = self.data
        # Also for the random starts of the attack after each epoch.
        with seeded(data.seed):
            return model.fit(
                data.batches(data.train, shuffle=True, seed=data.seed),
                validation_data=data.batches(data.validation),
                shuffle=False,
                **{**settings, "verbose": 0},
            )


class _GridOracle(keras_tuner.oracles.GridSearchOracle):
    """KerasTuner's grid, which continues after a kill.

    KerasTuner 1.4 writes down the trials, but not the order in which its grid walks
    over them: reloaded, it would stop after the trial that was killed.
    """

    def set_state(self, state):
        super().set_state(state)
        ordered = sorted(
            self.start_order,
            key=functools.cmp_to_key(
                lambda a, b: self._compare(
                    self.trials[a].hyperparameters.values,
                    self.trials[b].hyperparameters.values,
                )
            ),
        )
        for trial_id in ordered:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(ordered)


def _tuner(kind, hypermodel, objective, max_trials, epochs, directory, seed):
    # KerasTuner takes a seed of 0 for none.
    settings = {"objective": objective, "seed": seed + 1}
    folder = {"directory": str(directory), "project_name": PROJECT}
    if kind == "hyperband":
        if max_trials is not None:
            raise InputError(
                "`max_trials` must be None with Hyperband, which knows its own. "
                f"Received: max_trials={max_trials}"
            )
        return keras_tuner.Hyperband(
            hypermodel, max_epochs=epochs, **settings, **folder
        )
    if kind == "bayesian":
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=max_trials or 10, **settings
        )
    else:
        oracle = _GridOracle(max_trials=max_trials, **settings)
    return keras_tuner.Tuner(oracle, hypermodel, **folder)


def _checked_alphas(alphas, tuner):
    if tuner not in ("grid", "bayesian", "hyperband"):
        raise InputError(
            "`tuner` must be one of grid, bayesian, hyperband. "
            f"Received: tuner={tuner!r}"
        )
    try:
        alphas = tuple(alphas)
    except TypeError as error:
        raise InputError(
            f"`alphas` must be a sequence of numbers. Received: alphas={alphas!r}"
        ) from error
    for alpha in alphas:
        check_number("alphas", alpha, least=0)
    least = 1 if tuner == "grid" else 2
    if len(set(alphas)) < least:
        raise InputError(
            f"`alphas` must hold at least {least} different number(s) for "
            f"tuner={tuner!r}. Received: alphas={alphas!r}"
        )
    return tuple(dict.fromkeys(float(alpha) for alpha in alphas))


def _result(search, attack, attacks, data, objective, clean_floor, directory):
    """Attacks the best model of each trial, picks the best trial, writes it down."""
    trials = []
    for trial_id in sorted(search.oracle.trials):
        trials.append(_trial(search, search.oracle.trials[trial_id], attacks, data))
    completed = [trial for trial in trials if trial.status == "COMPLETED"]
    if not completed:
        raise RuntimeError(
            "No trial of the search could be completed; the first one ended with\n"
            f"{trials[0].message if trials else 'nothing'}"
        )
    allowed = [t for t in completed if t.clean_accuracy >= (clean_floor or 0)]
    if not allowed:
        raise InputError(
            "`clean_floor` must be at most the best trial's clean accuracy, "
            f"{max(t.clean_accuracy for t in completed):.4f}. "
            f"Received: clean_floor={clean_floor}"
        )
    sign = 1 if OBJECTIVES[objective] == "max" else -1
    best = max(allowed, key=lambda t: (sign * t.score, t.clean_accuracy))
    model = search.load_model(search.oracle.trials[best.trial_id])
    model = Classifier(model).model
    result = AlphaSearch(
        objective=objective,
        attack=repr(attack),
        clean_floor=clean_floor,
        trials=trials,
        best=best,
        best_model=model,
    )
    text = json.dumps(result.to_dict(), indent=2) + "\n"
    files.write_text(directory / "alpha_search.json", text)
    files.write_text(directory / "alpha_search.md", result.to_markdown())
    saving.save_model(model, directory / "best_model.keras")
    figure = io.BytesIO()
    plotting.alpha_accuracy(result).savefig(figure, format="png", dpi=150)
    files.write_bytes(directory / "alpha_search.png", figure.getvalue())
    return result


def _trial(search, trial, attacks, data):
    values = dict(trial.hyperparameters.values)
    if trial.status != "COMPLETED":
        return AlphaTrial(
            trial_id=trial.trial_id,
            status=trial.status,
            values=values,
            message=trial.message,
        )
    report = _report(search, trial, attacks, data)
    through = [
        robust
        for row, robust in zip(report.results, report.row_robust, strict=True)
        if row.loss == "crossentropy"
    ]
    return AlphaTrial(
        trial_id=trial.trial_id,
        status=trial.status,
        values=values,
        epoch=int(trial.best_step),
        score=float(trial.score),
        clean_accuracy=report.clean_accuracy,
        crossentropy_accuracy=float(np.logical_and.reduce(through).mean()),
        adaptive_accuracy=report.worst_case_accuracy,
    )


def _report(search, trial, attacks, data):
    """The robustness of a trial's best model, from its folder or measured now."""
    path = pathlib.Path(search.get_trial_dir(trial.trial_id)) / "robustness.json"
    if path.exists():
        return evaluation.RobustnessReport.from_json(path.read_text())
    model = search.load_model(trial)
    with seeded(data.seed):
        report = evaluation.evaluate(model, data.validation, attacks, progress=False)
    files.write_text(path, report.to_json())
    return report

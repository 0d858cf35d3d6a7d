"""`search_alpha`: the exponent of guided complement entropy, searched by KerasTuner."""

import dataclasses
import functools
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_gce import files
from keras_gce.attacks import Attack
from keras_gce.callbacks import RobustAccuracy
from keras_gce.checks import check_integer, check_number, check_seed
from keras_gce.classifier import Classifier
from keras_gce.datasets import Split
from keras_gce.errors import InputError, check_installed
from keras_gce.files import PathLike
from keras_gce.names import TUNERS
from keras_gce.tuning.keras_tuner import (
    AlphaHyperModel,
    is_worker,
    kept_state,
    load_model,
    make_tuner,
    trial_folder,
    trials_of,
)
from keras_gce.tuning.results import (
    OBJECTIVES,
    AlphaSearch,
    best_of,
    measured,
    write,
)

__all__ = ["search_alpha"]


def search_alpha(
    build_model: Callable[[Any], keras.Model],
    train: Any,
    validation: Any,
    attack: Attack | Sequence[Attack],
    alphas: Sequence[float] = (1 / 2, 1 / 3, 1 / 4, 1 / 5),
    tuner: str = "grid",
    epochs: int = 20,
    directory: PathLike = "alpha_search",
    batch_size: int = 128,
    optimizer: str | Callable[[Any], keras.optimizers.Optimizer] = "adam",
    max_trials: int | None = None,
    objective: str = "val_robust_accuracy",
    clean_floor: float | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> AlphaSearch | None:
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
    or one of the workers: see docs/guides/distributed_training.md.

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
        if tuner == "hyperband":
            raise InputError(
                "`max_trials` must be None with Hyperband, which knows its own. "
                f"Received: max_trials={max_trials}"
            )
    if objective not in OBJECTIVES:
        raise InputError(
            f"`objective` must be one of {', '.join(OBJECTIVES)}, which the logs have. "
            f"Received: objective={objective!r}"
        )
    if clean_floor is not None:
        check_number("clean_floor", clean_floor, least=0, most=1)
    check_installed("The figure of a search", "tune", "matplotlib")
    attacks = _checked_attacks(attack)
    trained = _part("train", train, batch_size, shuffle=True, seed=seed)
    held_out = _part("validation", validation, batch_size)
    folder = files.claim(
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
            "validation": held_out.fingerprint,
        },
    )
    hypermodel = AlphaHyperModel(
        build_model,
        alphas,
        grid=tuner == "grid",
        optimizer=optimizer,
        train=trained.batches,
        validation=held_out.batches,
        seed=seed,
    )
    with kept_state(seed):
        search = make_tuner(
            tuner, hypermodel, objective, max_trials, epochs, folder, seed
        )
        robust = RobustAccuracy(held_out.data, attack)
        search.search(epochs=epochs, callbacks=[robust], verbose=verbose)
        if is_worker(search):
            return None
        trials = [
            measured(
                trial,
                trial_folder(search, trial.trial_id),
                functools.partial(load_model, search, trial.trial_id),
                held_out.data,
                attacks,
                seed,
            )
            for trial in trials_of(search)
        ]
        best = best_of(trials, objective, clean_floor)
        result = AlphaSearch(
            objective=objective,
            attack=repr(attack),
            clean_floor=clean_floor,
            trials=trials,
            best=best,
            best_model=Classifier(load_model(search, best.trial_id)).model,
        )
        write(result, folder)
        return result


def _checked_alphas(alphas: Any, tuner: str) -> tuple[float, ...]:
    if tuner not in TUNERS:
        raise InputError(
            f"`tuner` must be one of {', '.join(TUNERS)}. Received: tuner={tuner!r}"
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


def _checked_attacks(attack: Any) -> list[Attack]:
    attacks = list(attack) if isinstance(attack, (list, tuple)) else [attack]
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
            stacklevel=3,  # The caller of `search_alpha`.
        )
    return attacks


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """Images and labels, as the attacks and as `fit` take them.

    Args:
        data: In one of the forms that `evaluate` takes.
        batches: Callable that returns their batches, anew for each trial.
        fingerprint: What a search that goes on must find again, as text.
    """

    data: Any
    batches: Callable[[], Iterable[Any]]
    fingerprint: str


def _part(name: str, data: Any, batch_size: int, **settings: Any) -> _Part:
    # A tf.data.Dataset, for which TensorFlow isn't imported.
    if hasattr(data, "element_spec"):
        return _Part(data=data, batches=lambda: data, fingerprint="tf.data")
    split = data if isinstance(data, Split) else _split(name, data)
    digest = zlib.crc32(np.ascontiguousarray(split.labels).tobytes())
    return _Part(
        data=split,
        batches=functools.partial(split.batches, batch_size, **settings),
        fingerprint=f"{len(split)} examples, labels {digest:08x}",
    )


def _split(name: str, data: Any) -> Split:
    try:
        images, labels = data
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`{name}` must be a pair of arrays, a Split or a tf.data.Dataset. "
            f"Received: {type(data).__name__}"
        ) from error
    labels = np.asarray(labels)
    return Split(images, labels.reshape(len(labels), -1)[:, 0])

"""What an alpha search gives back: its trials, the best of them, and their views."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_gce import evaluation, files, plotting, saving
from keras_gce.attacks import Attack
from keras_gce.errors import InputError
from keras_gce.seeds import seeded

__all__ = ["OBJECTIVES", "AlphaSearch", "AlphaTrial", "best_of", "measured", "write"]

# What the logs have -> whether much or little of it is good.
OBJECTIVES = {
    "val_robust_accuracy": "max",
    "val_accuracy": "max",
    "val_loss": "min",
    "accuracy": "max",
    "loss": "min",
}


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
    values: dict[str, Any]
    epoch: int | None = None
    score: float | None = None
    clean_accuracy: float | None = None
    crossentropy_accuracy: float | None = None
    adaptive_accuracy: float | None = None
    message: str | None = None

    @property
    def alpha(self) -> float:
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
    trials: list[AlphaTrial]
    best: AlphaTrial
    best_model: keras.Model

    @property
    def best_alpha(self) -> float:
        """The exponent of the best trial."""
        return self.best.alpha

    @property
    def completed(self) -> list[AlphaTrial]:
        """List of the trials that were completed."""
        return _completed(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the model as a dict of what JSON can hold."""
        return {
            "objective": self.objective,
            "attack": self.attack,
            "clean_floor": self.clean_floor,
            "best_alpha": self.best_alpha,
            "best_trial": self.best.trial_id,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }

    def to_markdown(self) -> str:
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
            cells += [
                trial.status.lower() if trial.epoch is None else str(trial.epoch + 1),
                "–" if trial.score is None else f"{trial.score:.4f}",
                _percent(trial.clean_accuracy),
                _percent(trial.crossentropy_accuracy),
                _percent(trial.adaptive_accuracy),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        adaptive = max(self.completed, key=_adaptive)
        if _adaptive(adaptive) > _adaptive(self.best):
            lines += [
                "",
                f"Under the adaptive threat model alpha {adaptive.alpha:.4g} (trial "
                f"{adaptive.trial_id}) keeps more. Where that is many images, part of "
                "the best trial's score is a mask: attack through several losses.",
            ]
        return "\n".join(lines) + "\n"


def _completed(trials: Sequence[AlphaTrial]) -> list[AlphaTrial]:
    return [trial for trial in trials if trial.status == "COMPLETED"]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


# Of completed trials, which have both.
def _adaptive(trial: AlphaTrial) -> float:
    return trial.adaptive_accuracy or 0.0


def _clean(trial: AlphaTrial) -> float:
    return trial.clean_accuracy or 0.0


def measured(
    trial: AlphaTrial,
    folder: pathlib.Path,
    load_model: Callable[[], keras.Model],
    data: Any,
    attacks: Sequence[Attack],
    seed: int,
) -> AlphaTrial:
    """Attacks a completed trial's best model; another trial is returned as it is.

    Args:
        trial: The trial, as KerasTuner left it.
        folder: Its folder, where the report is kept, and read if it is there.
        load_model: Callable that returns the model.
        data: Images and labels, in the forms that `evaluate` takes.
        attacks: List of attacks.
        seed: Decides what is random in them.

    Returns:
        The `AlphaTrial`, with its accuracies.
    """
    if trial.status != "COMPLETED":
        return trial
    path = folder / "robustness.json"
    if path.exists():
        report = evaluation.RobustnessReport.from_json(path.read_text())
    else:
        model = load_model()
        with seeded(seed):
            report = evaluation.evaluate(
                model, data, attacks, progress=False, diagnostics=False
            )
        files.write_text(path, report.to_json())
    through = [
        robust
        for row, robust in zip(report.results, report.row_robust, strict=True)
        if row.loss == "crossentropy"
    ]
    return dataclasses.replace(
        trial,
        clean_accuracy=report.clean_accuracy,
        crossentropy_accuracy=float(np.logical_and.reduce(through).mean()),
        adaptive_accuracy=report.worst_case_accuracy,
    )


def best_of(
    trials: Sequence[AlphaTrial], objective: str, clean_floor: float | None
) -> AlphaTrial:
    """Returns the completed trial that is best by the objective.

    Args:
        trials: The trials, measured.
        objective: A name in `OBJECTIVES`; where it is equal the clean accuracy decides.
        clean_floor: Least clean accuracy that it must have; `None`: any.

    Raises:
        InputError: If no trial reaches `clean_floor`.
        RuntimeError: If no trial was completed; with the first one's error.
    """
    completed = _completed(trials)
    if not completed:
        raise RuntimeError(
            "No trial of the search could be completed; the first one ended with\n"
            f"{trials[0].message if trials else 'nothing'}"
        )
    allowed = [trial for trial in completed if _clean(trial) >= (clean_floor or 0)]
    if not allowed:
        raise InputError(
            "`clean_floor` must be at most the best trial's clean accuracy, "
            f"{max(map(_clean, completed)):.4f}. "
            f"Received: clean_floor={clean_floor}"
        )
    sign = 1 if OBJECTIVES[objective] == "max" else -1
    return max(allowed, key=lambda t: (sign * (t.score or 0.0), _clean(t)))


def write(search: AlphaSearch, folder: pathlib.Path) -> None:
    """Writes down a search: as JSON, as a table, as a figure, and its best model."""
    text = json.dumps(search.to_dict(), indent=2) + "\n"
    files.write_text(folder / "alpha_search.json", text)
    files.write_text(folder / "alpha_search.md", search.to_markdown())
    saving.save_model(search.best_model, folder / "best_model.keras")
    figure = io.BytesIO()
    plotting.alpha_accuracy(search).savefig(figure, format="png", dpi=150)
    files.write_bytes(folder / "alpha_search.png", figure.getvalue())

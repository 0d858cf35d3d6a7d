"""The record of an evaluation that has been run."""

import dataclasses
import datetime
import importlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.evaluation.gallery import SIZE
from keras_gce.evaluation.hardware import hardware
from keras_gce.evaluation.plan import Plan, Row
from keras_gce.evaluation.results import AttackResult
from keras_gce.evaluation.run import Outcome
from keras_gce.fingerprint import fingerprint

__all__ = [
    "found_examples",
    "loss_label",
    "results_of",
    "settings_of",
    "setup",
    "versions",
]


def results_of(
    plan: Plan, outcomes: Sequence[Outcome], clean: np.ndarray
) -> list[AttackResult]:
    """Returns a list of `AttackResult`, one for each row of a plan."""
    return [
        _result(row, outcome, clean)
        for row, outcome in zip(plan.rows, outcomes, strict=True)
    ]


def _result(row: Row, outcome: Outcome, clean: np.ndarray) -> AttackResult:
    attack = row.attack
    won = outcome.column("reached", bool)
    l0, l2 = outcome.column("l0", int)[won], outcome.column("l2")[won]
    return AttackResult(
        name=attack.name,
        engine=attack.engine,
        loss=loss_label(attack.loss),
        eps=attack.eps,
        norm=attack.norm,
        n_examples=len(clean),
        clean_accuracy=float(clean.mean()),
        robust_accuracy=float(outcome.robust.mean()),
        success_rate=float(won.mean()) if len(won) else None,
        mean_l0=float(l0.mean()) if won.any() else None,
        mean_l2=float(l2.mean()) if won.any() else None,
        median_l2=float(np.median(l2)) if won.any() else None,
        max_linf=float(outcome.column("linf").max(initial=0.0)),
        seconds=outcome.seconds,
        settings=settings_of(attack),
        ensemble=row.ensemble,
    )


def found_examples(
    outcomes: Sequence[Outcome],
) -> list[list[tuple[int, np.ndarray, int]]]:
    """Returns for each row the first (index, adversarial example, class after)."""
    found = []
    for outcome in outcomes:
        one = []
        for part in outcome.batches:
            names = ("shown", "shown_x", "shown_class")
            # More are there where all are kept.
            columns = [part[name][:SIZE] for name in names]
            for i, x_adv, after in zip(*columns, strict=False):
                one.append((part["index"][i], x_adv, after))
            if len(one) >= SIZE:
                break
        found.append(one)
    return found


def settings_of(attack: Attack) -> dict[str, Any]:
    """Returns all settings of an attack as what JSON can hold, callables told apart."""
    return {
        field.name: _text(getattr(attack, field.name))
        for field in dataclasses.fields(attack)
    }


def loss_label(loss: Any) -> Any:
    """Returns what a loss is called in reports: by its name, or its class and digest.

    Args:
        loss: The name of a loss, a callable, or `None`, which is returned.
    """
    return loss.__name__ if _is_named(loss) else _text(loss)


def _is_named(value: Any) -> bool:
    # As functions, methods and classes are, which have no base in common.
    return hasattr(value, "__qualname__")


def _text(value: Any) -> Any:
    if isinstance(value, keras.Model):
        weights = fingerprint(*value.get_weights())[:12]
        return f"{value.name} (weights {weights})"
    if isinstance(value, Attack):
        return {"name": value.name, **settings_of(value)}
    if callable(value):
        name = value.__qualname__ if _is_named(value) else type(value).__name__
        return f"{name} ({fingerprint(value)[:12]})"
    return list(value) if isinstance(value, tuple) else value


def versions(plan: Plan) -> dict[str, str]:
    """Returns the versions of the libraries that took part."""
    names = ["keras_gce", "keras", keras.backend.backend(), "numpy"]
    engines = {row.attack.engine for row in plan.rows}
    names += ["cleverhans"] * ("cleverhans" in engines)
    return {name: importlib.import_module(name).__version__ for name in names}


def setup() -> dict[str, str]:
    """Returns when and on what an evaluation was run."""
    now = datetime.datetime.now(datetime.UTC)
    return {"hardware": hardware(), "date": now.isoformat(timespec="seconds")}

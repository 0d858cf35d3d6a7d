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
from keras_gce.evaluation.plan import Plan
from keras_gce.evaluation.results import AttackResult, RowArrays
from keras_gce.evaluation.run import Outcome
from keras_gce.fingerprint import fingerprint
from keras_gce.per_feature import PerFeature

__all__ = [
    "arrays_of",
    "figures_of",
    "found_examples",
    "loss_label",
    "results_of",
    "settings_of",
    "setup",
    "versions",
]


def results_of(
    plan: Plan,
    outcomes: Sequence[Outcome],
    rows: Sequence[RowArrays],
    robust: np.ndarray,
    clean: np.ndarray,
) -> list[AttackResult]:
    """Returns a list of `AttackResult`, one for each row of a plan.

    Args:
        plan: The `Plan`.
        outcomes: List of `Outcome`, one for each row.
        rows: List of their `RowArrays`.
        robust: Boolean array of shape `(rows, N)`: which examples are right after each.
        clean: Boolean array of shape `(N,)`: which are right before.
    """
    return [
        AttackResult(
            name=row.attack.name,
            engine=row.attack.engine,
            loss=loss_label(row.attack.loss),
            eps=_greatest(row.attack.eps),
            norm=row.attack.norm,
            seconds=outcome.seconds,
            settings=settings_of(row.attack),
            ensemble=row.ensemble,
            **figures_of(clean, right, arrays),
        )
        for row, outcome, arrays, right in zip(
            plan.rows, outcomes, rows, robust, strict=True
        )
    ]


def figures_of(
    clean: np.ndarray, robust: np.ndarray, arrays: RowArrays
) -> dict[str, Any]:
    """Returns the figures of a row, as the arguments of an `AttackResult`.

    Args:
        clean: Boolean array of shape `(N,)`: which examples are right before.
        robust: Boolean array of shape `(N,)`: which are right after.
        arrays: What the row did to each.
    """
    attacked = arrays.attacked
    won = arrays.reached[attacked]
    l0, l2 = arrays.l0[attacked][won], arrays.l2[attacked][won]
    queries = arrays.queries[attacked][won]
    return {
        "n_examples": len(clean),
        "clean_accuracy": float(clean.mean()),
        "robust_accuracy": float(robust.mean()),
        "success_rate": float(won.mean()) if len(won) else None,
        "mean_l0": float(l0.mean()) if won.any() else None,
        "mean_l2": float(l2.mean()) if won.any() else None,
        "median_l2": float(np.median(l2)) if won.any() else None,
        "max_linf": float(arrays.linf[attacked].max(initial=0.0)),
        "median_queries": float(np.median(queries)) if queries.any() else None,
    }


def arrays_of(outcome: Outcome, own: np.ndarray | slice) -> RowArrays:
    """Returns what a row did to each example of a part, or of the whole.

    Args:
        outcome: What the row did, with the examples' places in the whole.
        own: The places of the part; see `places_of`.
    """
    index = outcome.column("index", int)

    def column(values: np.ndarray, kind: str, elsewhere: float = 0) -> np.ndarray:
        whole = np.full(len(outcome.robust), elsewhere, kind)
        whole[index] = values
        return whole[own]

    return RowArrays(
        attacked=column(np.ones(len(index)), "bool"),
        reached=column(outcome.column("reached"), "bool"),
        finite=column(outcome.column("finite"), "bool", True),
        l0=column(outcome.column("l0"), "int32"),
        l2=column(outcome.column("l2"), "float32"),
        linf=column(outcome.column("linf"), "float32"),
        queries=column(outcome.column("queries"), "int32"),
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


def _greatest(eps: Any) -> Any:
    return float(eps) if isinstance(eps, PerFeature) else eps


def _text(value: Any) -> Any:
    if isinstance(value, keras.Model):
        weights = fingerprint(*value.get_weights())[:12]
        return f"{value.name} (weights {weights})"
    if isinstance(value, Attack):
        return {"name": value.name, **settings_of(value)}
    if callable(value):
        name = value.__qualname__ if _is_named(value) else type(value).__name__
        return f"{name} ({fingerprint(value)[:12]})"
    if isinstance(value, PerFeature):
        return repr(value)
    return [_text(one) for one in value] if isinstance(value, tuple) else value


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

"""The table of attacks of a report's page: what each row left, ball by ball."""

from typing import Any

import numpy as np

from keras_gce.evaluation.results import AttackResult
from keras_gce.evaluation.words import ball_text

__all__ = ["attack_table"]

# What two rows share of which one was not run, but taken over from the other.
FIGURES = (
    "name",
    "engine",
    "eps",
    "norm",
    "ensemble",
    "robust_accuracy",
    "success_rate",
    "mean_l2",
    "median_l2",
    "mean_l0",
    "max_linf",
)


def attack_table(report: Any) -> dict[str, Any]:
    """Returns the rows of a report, grouped by ball, and what is said of all of them.

    Args:
        report: A `RobustnessReport`.

    Returns:
        Dict of "groups", "repeats" (pairs of a row and the one it repeats), "caption"
        and, for what is not always shown, "engines", "ensembles" and "far".
    """
    repeats = _repeats(report)
    folded = [row for row, _ in repeats]
    together = {(case.norm, case.eps): case.accuracy for case in report.worst_cases}
    balls = dict.fromkeys(map(_ball, report.results))
    groups = []
    for ball in balls:
        rows = [
            row
            for row in report.results
            if _ball(row) == ball and not _is_in(row, folded)
        ]
        norm, eps = ball
        share = together.get((norm or "", eps)) if eps else None
        groups.append(
            {
                "ball": ball_text(report, eps, norm),
                "has_radius": eps is not None,
                "rows": rows,
                "strongest": _strongest(rows),
                "equals": _equals(rows),
                "together": share if len(rows) > 1 else None,
            }
        )
    engines = {row.engine for row in report.results}
    ensembles = {row.ensemble for row in report.results}
    return {
        "groups": groups,
        "repeats": repeats,
        "caption": _caption(groups, engines, ensembles),
        # Where all rows are of one, it is said once.
        "ensembles": len(ensembles) > 1,
        "engines": len(engines) > 1,
        "far": any(row.eps is None for row in report.results),
    }


def _ball(row: AttackResult) -> tuple[str | None, float | None]:
    # FMN measures in a norm, and has no radius.
    return (None, None) if row.eps is None else (row.norm, row.eps)


def _caption(
    groups: list[dict[str, Any]], engines: set[str], ensembles: set[str | None]
) -> str:
    """What would stand in every row."""
    said = []
    if len(groups) == 1:
        group = groups[0]
        ball = f"within eps {group['ball']}" if group["has_radius"] else "no radius"
        said.append(ball)
    if len(ensembles) == 1:
        said += [f"of {name}" for name in ensembles if name]
    if len(engines) == 1:
        said += [f"run by {name}" for name in engines]
    return f"All rows: {', '.join(said)}." if said else ""


def _strongest(rows: list[AttackResult]) -> AttackResult | None:
    """The first of those that leave least, where there is something to compare."""
    tried = [row for row in rows if row.success_rate is not None]
    if len(rows) < 2 or not tried:
        return None
    return min(tried, key=lambda row: row.robust_accuracy)


def _equals(rows: list[AttackResult]) -> int:
    """How many others leave as little as the strongest."""
    tried = [row.robust_accuracy for row in rows if row.success_rate is not None]
    return tried.count(min(tried)) - 1 if tried else 0


def _repeats(report: Any) -> list[tuple[AttackResult, AttackResult]]:
    """Rows that were not run since another runs the very same, and that other."""
    pairs = []
    for i, row in enumerate(report.results):
        if row.seconds or row.success_rate is None:
            continue
        for j, other in enumerate(report.results[:i]):
            same = all(vars(row)[name] == vars(other)[name] for name in FIGURES)
            left = np.array_equal(report.row_robust[i], report.row_robust[j])
            if same and left and row.loss != other.loss and other.seconds:
                pairs.append((row, other))
                break
    return pairs


def _is_in(row: AttackResult, rows: list[AttackResult]) -> bool:
    return any(row is one for one in rows)

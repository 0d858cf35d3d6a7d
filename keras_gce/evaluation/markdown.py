"""A report as Markdown: a summary, the flags, a table."""

from typing import Any

from keras_gce.evaluation.advice import GUIDE
from keras_gce.evaluation.results import AttackResult
from keras_gce.evaluation.sanity import FIRST
from keras_gce.evaluation.words import ball_text, budget_text, cell, title

__all__ = ["markdown"]


def markdown(report: Any) -> str:
    """Returns a report as Markdown.

    Args:
        report: A `RobustnessReport`, whose file imports this one.
    """
    signs = [
        f"- Flag {flag.name}: {flag.message}"
        for flag in report.flags
        if flag.name not in FIRST
    ]
    signs += [f"- Skipped: {text}" for text in report.skipped]
    if report.not_tried:
        signs.append(
            f"- Not tried, and may break it: {'; '.join(report.not_tried)}. {GUIDE}"
        )
    balls = _balls(report)
    if len(balls) > 1:
        signs = [*balls, *signs]
    accuracy = "accuracy left %" if report.worst_case_only else "robust accuracy %"
    asked = any(row.median_queries is not None for row in report.results)
    columns = ["attack", "eps", "norm", "loss", "engine", accuracy, "success %"]
    columns += ["mean l0", "mean l2", "median l2"]
    columns += [*(["median queries"] if asked else []), "seconds"]
    lines = [
        _summary(report),
        "",
        *(signs + [""] if signs else []),
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *(_line(report, row, asked) for row in report.results),
    ]
    return "\n".join(lines) + "\n"


def _summary(report: Any) -> str:
    low, high = report.confidence_interval()
    within = "".join(
        f", {curve.norm} eps "
        + " and ".join(ball_text(report, eps) for eps in curve.eps[1:])
        for curve in report.worst_case_curves
    )
    worst = "robust in the worst case"
    if not report.has_radius:
        worst = "without a radius, so no robust accuracy: attacks leave"
    return (
        f"{title(report)}: clean accuracy {_percent(report.clean_accuracy)}%, "
        f"{worst} {_percent(report.worst_case_accuracy)}% "
        f"(95% interval {_percent(low)} to {_percent(high)}%, {len(report.clean)} "
        f"examples). Threat model: {report.threat_model or 'none named'}{within}. "
        f"Flags: {', '.join(flag.name for flag in report.flags) or 'none'}."
        + "".join(f" Mind: {text}." for text in report.first_words)
    )


def _balls(report: Any) -> list[str]:
    """A line for each radius: what all attacks within it leave."""
    lines = []
    for case in report.worst_cases:
        low, high = case.confidence_interval
        lines.append(
            f"- Worst case within {case.norm} {ball_text(report, case.eps)}: "
            f"{_percent(case.accuracy)}% "
            f"(95% interval {_percent(low)} to {_percent(high)}%)"
        )
    return lines


def _line(report: Any, row: AttackResult, asked: bool) -> str:
    queries = "–" if row.median_queries is None else f"{row.median_queries:.0f}"
    cells = (
        row.label,
        budget_text(report, row) or "–",
        row.norm or "–",
        row.loss or "own",
        row.engine,
        _percent(row.robust_accuracy),
        "–" if row.success_rate is None else _percent(row.success_rate),
        "–" if row.mean_l0 is None else f"{row.mean_l0:.0f}",
        "–" if row.mean_l2 is None else f"{row.mean_l2:.3f}",
        "–" if row.median_l2 is None else f"{row.median_l2:.3f}",
        *([queries] if asked else []),
        f"{row.seconds:.1f}",
    )
    return f"| {' | '.join(cell(text) for text in cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"

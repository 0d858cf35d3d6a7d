"""A report as CSV, and as a LaTeX table for a paper."""

import csv
import io
import json
from typing import Any

from keras_gce.evaluation.intervals import wilson_interval
from keras_gce.evaluation.results import AttackResult, WorstCase
from keras_gce.evaluation.words import ball_text, budget_text, title

__all__ = ["as_csv", "as_latex"]

COLUMNS = (
    "attack",
    "ensemble",
    "engine",
    "loss",
    "eps",
    "norm",
    "n_examples",
    "clean_accuracy",
    "robust_accuracy",
    "low",
    "high",
    "success_rate",
    "mean_l0",
    "mean_l2",
    "median_l2",
    "max_linf",
    "median_queries",
    "seconds",
    "settings",
)
PAPER = r"""@inproceedings{chen2019gce,
  title = {Improving Adversarial Robustness via Guided Complement Entropy},
  author = {Chen, Hao-Yun and Liang, Jhao-Hong and Chang, Shih-Chieh and Pan, Jia-Yu
            and Chen, Yu-Ting and Wei, Wei and Juan, Da-Cheng},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2019},
}"""
# What LaTeX reads as its own -> what it prints as that.
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def as_csv(report: Any) -> str:
    """Returns a report as CSV: a row an attack and loss, and the worst cases.

    Args:
        report: A `RobustnessReport`, whose file imports this one.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in report.results:
        low, high = wilson_interval(row.robust_accuracy, row.n_examples)
        writer.writerow(
            {name: value for name, value in vars(row).items() if name in COLUMNS}
            | {"attack": row.name, "settings": json.dumps(row.settings)}
            | {"low": low, "high": high}
        )
    for case in report.worst_cases:
        low, high = case.confidence_interval
        writer.writerow(
            {
                "attack": "worst case",
                "eps": case.eps,
                "norm": case.norm,
                "n_examples": len(report.clean),
                "clean_accuracy": report.clean_accuracy,
                "robust_accuracy": case.accuracy,
                "low": low,
                "high": high,
            }
        )
    return text.getvalue()


def as_latex(report: Any) -> str:
    """Returns a report as a LaTeX table, which needs the package booktabs.

    Args:
        report: A `RobustnessReport`, whose file imports this one.
    """
    several = len({(row.norm, row.eps) for row in report.results}) > 1
    version = report.versions.get("keras_gce", "")
    head = ["Attack", "Loss", *(["Norm", r"$\varepsilon$"] if several else [])]
    lines = [
        f"% keras_gce {version}. In the preamble: \\usepackage{{booktabs}}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_caption(report, several)}}}",
        f"  \\begin{{tabular}}{{{'l' * len(head)}r}}",
        r"    \toprule",
        f"    {' & '.join(head)} & Accuracy (\\%) \\\\",
        r"    \midrule",
        f"    {_cells('None', '', '', '', report.clean_accuracy, several)}",
        *(f"    {_row(report, row, several)}" for row in report.results),
        r"    \midrule",
        *(f"    {line}" for line in _worst(report, several)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        *(f"% {line}" for line in PAPER.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def _caption(report: Any, several: bool) -> str:
    low, high = report.confidence_interval()
    ball = ""
    if not several and report.has_radius:
        row = report.results[0]
        ball = (
            f", {_escaped(str(row.norm))} ball of radius {ball_text(report, row.eps)}"
        )
    flags = ", ".join(flag.name for flag in report.flags)
    threat_model = report.threat_model or "none named"
    worst = "worst case" if report.has_radius else "share left (no radius)"
    return (
        f"Accuracy of {_escaped(title(report))} under attack{ball}; threat model "
        f"{_escaped(threat_model)}; {len(report.clean)} examples, 95\\% interval of "
        f"the {worst} {100 * low:.2f} to {100 * high:.2f}. "
        + (f"Signs of gradient masking: {_escaped(flags)}. " if flags else "")
        + f"Evaluated with keras\\_gce {_escaped(report.versions.get('keras_gce', ''))}"
        r"~\cite{chen2019gce}."
    )


def _row(report: Any, row: AttackResult, several: bool) -> str:
    budget = budget_text(report, row) or "--"
    loss, norm = row.loss or "own", row.norm or "--"
    return _cells(row.label, loss, norm, budget, row.robust_accuracy, several)


def _worst(report: Any, several: bool) -> list[str]:
    cases: list[WorstCase] = report.worst_cases
    if not cases:
        return [_cells("All", "", "", "", report.worst_case_accuracy, several)]
    return [
        _cells(
            *("Worst case", "", case.norm, ball_text(report, case.eps)),
            case.accuracy,
            several,
        )
        for case in cases
    ]


def _cells(
    attack: str, loss: str, norm: str, budget: str, accuracy: float, several: bool
) -> str:
    cells = [attack, loss, *([norm, budget] if several else [])]
    return f"{' & '.join(map(_escaped, cells))} & {100 * accuracy:.2f} \\\\"


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in text)

"""A report as an entry of RobustBench's leaderboard."""

import json
from typing import Any

import numpy as np

from keras_gce.attacks import AutoAttack
from keras_gce.checks import check_integer
from keras_gce.errors import InputError
from keras_gce.evaluation.record import settings_of

__all__ = ["as_robustbench"]

# Of each dataset's leaderboards: the norm, the radius, and how that is written.
BALLS = {
    "cifar10": {"linf": (8 / 255, "8/255"), "l2": (0.5, "0.5")},
    "cifar100": {"linf": (8 / 255, "8/255")},
}
IMAGES = 10_000
# What RobustBench asks of a model, by the checks that see whether it holds.
ASKED = {
    "zero_gradients": "gradients that are not 0",
    "randomised_outputs": "the same answer each time",
    "nan_outputs": "answers that are numbers",
}


def as_robustbench(
    report: Any,
    dataset: str = "cifar10",
    name: str = "",
    authors: str = "",
    link: str = "",
    venue: str = "",
    architecture: str = "",
    additional_data: bool = False,
    number_forward_passes: int = 1,
    reported: float | None = None,
    footnote: str = "",
) -> str:
    """Returns a model's entry of RobustBench's leaderboard: its JSON.

    Args:
        report: A `RobustnessReport` of all 10,000 test images, with the standard
            AutoAttack at a radius of the leaderboard and the diagnostics.
        dataset: `"cifar10"` (linf 8/255, l2 0.5) or `"cifar100"` (linf 8/255). Defaults
            to `"cifar10"`.
        name: Title of the paper.
        authors: Its authors.
        link: Where it is.
        venue: Where it appeared.
        architecture: The network, such as "WideResNet-28-10".
        additional_data: Whether more than the dataset's images trained it. Defaults to
            `False`.
        number_forward_passes: How many its prediction takes, >= 1. Defaults to 1.
        reported: The paper's robust accuracy in %. Defaults to `None`: AutoAttack's
            here.
        footnote: Text. Defaults to none.

    Returns:
        JSON with the fields of RobustBench's `model_info`; "unreliable" is true where
        the report raises a flag.

    Raises:
        InputError: If the report is not as described, or the model is not what
            RobustBench takes: its answers or gradients are random, zero or not finite.
            It says what is missing.

    Reference:
        Croce et al., "RobustBench: a standardized adversarial robustness benchmark",
        NeurIPS 2021 Datasets and Benchmarks (arXiv 2010.09670).
    """
    check_integer("number_forward_passes", number_forward_passes, least=1)
    if dataset not in BALLS:
        raise InputError(
            f"`dataset` must be one of {', '.join(BALLS)}. Received: dataset={dataset}"
        )
    found, missing = _autoattack(report, dataset), _missing(report, dataset)
    if found is None:
        balls = " or ".join(f"{n} {text}" for n, (_, text) in BALLS[dataset].items())
        missing.append(f"the standard AutoAttack in {balls}")
    if found is None or missing:
        raise InputError(
            "`report` must be what RobustBench takes. Received: one without "
            f"{'; '.join(missing)}"
        )
    norm, rows = found
    accuracy = f"{100 * report.row_robust[rows].all(axis=0).mean():.2f}"
    entry = {
        "link": link,
        "name": name,
        "authors": authors,
        "additional_data": bool(additional_data),
        "number_forward_passes": int(number_forward_passes),
        "dataset": dataset,
        "venue": venue,
        "architecture": architecture,
        "eps": BALLS[dataset][norm][1],
        "clean_acc": f"{100 * report.clean_accuracy:.2f}",
        "reported": accuracy if reported is None else f"{reported:.2f}",
        "autoattack_acc": accuracy,
    }
    if footnote:
        entry["footnote"] = footnote
    # Where a sign of masking is raised, AutoAttack's figure may be too high.
    entry["unreliable"] = bool(report.flags)
    return json.dumps(entry, indent=2) + "\n"


def _autoattack(report: Any, dataset: str) -> tuple[str, list[int]] | None:
    """The norm of the ball in which the standard AutoAttack was run, and its rows."""
    for norm, (eps, _) in BALLS[dataset].items():
        wanted = [
            settings_of(attack) | {"seed": None}
            for attack in AutoAttack(eps=eps, norm=norm).attacks
        ]
        rows = [
            number
            for number, result in enumerate(report.results)
            if result.ensemble == "AutoAttack"
            and result.norm == norm
            and abs(result.eps - eps) < 1e-6
        ]
        # Whatever the seed, and however its eps is rounded.
        same = {"seed": None, "eps": eps}
        if _text([report.results[i].settings | same for i in rows]) == _text(wanted):
            return norm, rows
    return None


def _text(settings: Any) -> str:
    return json.dumps(settings, sort_keys=True, default=list)


def _missing(report: Any, dataset: str) -> list[str]:
    """What RobustBench asks for, beside AutoAttack, and the report has not."""
    missing = []
    if report.part is not None:
        missing.append("the whole test set (merge its parts)")
    count = len(report.clean)
    if count != IMAGES:
        missing.append(f"all {IMAGES} test images (it has {count})")
    elif report.labels is not None:
        classes = 10 if dataset == "cifar10" else 100
        if (np.bincount(report.labels, minlength=classes) != IMAGES // classes).any():
            missing.append(f"{dataset}'s test labels, as many of each class")
    if report.worst_case_only:
        missing.append("AutoAttack on all images (worst_case_only=False)")
    checks = {check.name: check for check in report.checks}
    for name, words in ASKED.items():
        if name not in checks:
            missing.append(f"the check {name} (diagnostics=True)")
        elif checks[name].raised:
            missing.append(f"{words} ({name} is raised)")
    return missing

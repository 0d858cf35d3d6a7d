"""Signs of gradient masking that the rows of an evaluation already hold."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from keras_gce.evaluation.results import AttackResult, Flag, measured

__all__ = ["ROW_CHECKS", "row_checks"]

# What `row_checks` looks for.
ROW_CHECKS = (
    "training_loss_hides",
    "one_step_beats_iterative",
    "one_step_does_nothing",
    "larger_eps_is_weaker",
    "black_box_beats_white_box",
)

# Accuracy; the gap between two attacks that is more than their noise. The authors of
# AutoAttack warn where Square gains 0.002, as it does on models trained with PGD on
# MNIST too (0.022, docs/benchmarks.md).
GAP = 0.05
# Of an adversarially trained model, which hides nothing at its own eps, 0.07 was seen
# at twice that (benchmarks/zoo.py).
HIDES = 0.1
# What one step breaks where it does nothing, and what several then break.
NOTHING, ALL = 0.01, 0.25
REFERENCE = "Carlini et al. 2019 (arXiv 1902.06705), sections 4 and 5"
BLACK_BOXES = ("Square", "HopSkipJump", "RandomNoise", "Transfer")

Pair: TypeAlias = tuple[AttackResult, AttackResult]


def row_checks(
    results: Sequence[AttackResult],
    robust: np.ndarray,
    clean: np.ndarray,
    opens: Sequence[bool] | None = None,
) -> list[Flag]:
    """Returns what the rows of a report say about masked gradients.

    Args:
        results: List of `AttackResult`.
        robust: Boolean array of shape `(rows, N)`: which examples are right after each.
        clean: Boolean array of shape `(N,)`: which are right before.
        opens: For each row whether it attacked all of these, rather than what the rows
            of its ensemble before it left. Defaults to `None`: all did.

    Returns:
        List of `Flag`, raised or not, one for each sign that the rows allow to look
        for.

    Reference:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
        2018 (arXiv 1802.00420), section 3.1; Carlini et al., "On Evaluating
        Adversarial Robustness", 2019 (arXiv 1902.06705), sections 4 and 5.
    """
    flags = []
    opens = [True] * len(results) if opens is None else opens
    gradient = [
        row
        for row, all_of_them in zip(results, opens, strict=True)
        if row.loss is not None and all_of_them
    ]
    pairs = [(a, b) for a in gradient for b in gradient if a is not b]
    flags += _worst(
        "training_loss_hides",
        (
            (a, b)
            for a, b in pairs
            if (a.loss, b.loss) == ("training", "crossentropy")
            and _same(a, b, "name", "norm", "eps")
        ),
        lambda a, b: (
            f"{a.name} at eps {a.budget} leaves {a.robust_accuracy:.1%} through the "
            f"training loss and {b.robust_accuracy:.1%} through cross-entropy: the "
            "training loss hides the gradient, and its figure is the weakness of the "
            "attack. Quote the adaptive worst case."
        ),
        HIDES,
    )
    flags += _worst(
        "one_step_beats_iterative",
        (
            (a, b)
            for a, b in pairs
            if b.name == "FGSM" != a.name and _same(a, b, "loss", "norm", "eps")
        ),
        lambda a, b: (
            f"at eps {a.budget} through {a.loss} one step leaves "
            f"{b.robust_accuracy:.1%} and {a.name} {a.robust_accuracy:.1%}: the "
            "iterative attack is stuck, or its steps are too small. Run more steps, "
            "restarts and the margin loss."
        ),
    )
    flags += _worst(
        "one_step_does_nothing",
        (
            (b, a)
            for a, b in pairs
            if b.name == "FGSM" != a.name
            and _same(a, b, "loss", "norm", "eps")
            and b.clean_accuracy - b.robust_accuracy <= NOTHING
        ),
        lambda b, a: (
            f"at eps {a.budget} through {a.loss} one step leaves "
            f"{b.robust_accuracy:.1%}, as good as all, and {a.name} "
            f"{a.robust_accuracy:.1%}: on the images themselves there is no gradient "
            "to follow. Do not quote attacks that start there; run random starts, and "
            "Square."
        ),
        ALL,
    )
    flags += _worst(
        "larger_eps_is_weaker",
        (
            (a, b)
            for a, b in pairs
            if (a.eps or 0) > (b.eps or 0) and _same(a, b, "name", "loss", "norm")
        ),
        lambda a, b: (
            f"{a.name} through {a.loss} leaves {a.robust_accuracy:.1%} at eps "
            f"{a.budget} and {b.robust_accuracy:.1%} at {b.budget}: the larger ball "
            "holds the smaller, so the attack fails. Run more steps and restarts."
        ),
    )
    return flags + _black_box(results, robust, clean)


def _black_box(
    results: Sequence[AttackResult], robust: np.ndarray, clean: np.ndarray
) -> list[Flag]:
    """The share that attacks without the gradient break and all others leave."""
    is_black = np.array([row.name.startswith(BLACK_BOXES) for row in results], bool)
    checks = []
    for norm, eps in {(row.norm, row.eps) for row in results if row.eps is not None}:
        same = np.array([(row.norm, row.eps) == (norm, eps) for row in results])
        black, white = same & is_black, same & ~is_black
        if black.any() and white.any():
            only = robust[white].all(axis=0) & ~robust[black].all(axis=0)
            checks.append((float((only & clean).mean()), eps))
    if not checks:
        return []
    share, eps = max(checks)
    return [
        measured(
            "black_box_beats_white_box",
            share,
            GAP,
            f"attacks without the gradient break {share:.1%} of the images at eps "
            f"{eps:g} that all gradient attacks leave: the gradient is masked, or the "
            "gradient attacks are too weak. Run more steps and restarts, other losses, "
            "and Square with more queries.",
            "Athalye et al. 2018 (arXiv 1802.00420), section 3.1",
        )
    ]


def _same(a: AttackResult, b: AttackResult, *fields: str) -> bool:
    return all(getattr(a, field) == getattr(b, field) for field in fields)


def _worst(
    name: str,
    pairs: Iterable[Pair],
    message: Callable[[AttackResult, AttackResult], str],
    threshold: float = GAP,
) -> list[Flag]:
    """One flag for the pair of rows whose first leaves most above its second."""
    gaps = [(a.robust_accuracy - b.robust_accuracy, a, b) for a, b in pairs]
    if not gaps:
        return []
    gap, a, b = max(gaps, key=lambda item: item[0])
    return [measured(name, gap, threshold, message(a, b), REFERENCE)]

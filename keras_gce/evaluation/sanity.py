"""What an evaluation says first: whether its figures mean what they seem to."""

from collections.abc import Sequence

import numpy as np

from keras_gce.classifier import Classifier, is_finite, is_right
from keras_gce.evaluation.plan import Plan
from keras_gce.evaluation.results import Flag, RowArrays
from keras_gce.per_feature import Bounds, covered

__all__ = ["FIRST", "is_constant", "near_chance", "not_finite", "sanity_checks"]

# These stand in a report's first line, before any sign of masked gradients.
FIRST = (
    "nan_outputs",
    "constant_outputs",
    "near_chance",
    "pixel_unit",
    "eps_covers_range",
)
# Share of the way from chance to 1 within which a model has learned nothing.
CHANCE = 0.05
# By how much more accurate images in another unit are where the unit is wrong, and on
# how many images, at what accuracy here, that is looked at.
UNIT_GAP, UNIT_EXAMPLES, UNIT_ACCURACY = 0.1, 200, 0.9
CARLINI = "Carlini et al. 2019 (arXiv 1902.06705), section 4"


def is_constant(z: np.ndarray) -> bool:
    """Returns whether logits are the same for all of several images."""
    if len(z) < 2 or not np.isfinite(z).all():
        return False
    return bool(np.ptp(z, axis=0).max() <= 1e-6 * max(np.abs(z).max(), 1e-30))


def sanity_checks(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    rows: Sequence[RowArrays],
    plan: Plan,
    is_first: bool = True,
) -> list[Flag]:
    """Returns the `Flag`s that say what the figures of an evaluation mean.

    Args:
        classifier: The `Classifier` of the model.
        x: Checked images of shape `(N, ...)`.
        y: Their classes, of shape `(N,)`.
        z: Their logits, of shape `(N, K)`.
        rows: List of `RowArrays`, one for each row of the plan.
        plan: The `Plan`.
        is_first: Whether the first images are among them: these are looked at in
            another unit. Defaults to `True`.
    """
    clean = is_right(z, y)
    flags = [not_finite(is_finite(z), rows)]
    constant = is_constant(z) and len(np.unique(x.reshape(len(x), -1)[:2], axis=0)) > 1
    flags.append(
        Flag(
            "constant_outputs",
            float(constant),
            0.5,
            f"the model answers the same for all {len(x)} images: what attacks leave "
            "is the share of that class, and says nothing about robustness"
            if constant
            else "the model's answers differ from image to image",
            CARLINI,
        )
    )
    flags.append(near_chance(clean, classifier.num_classes))
    if is_first:
        flags += _unit(classifier, x, y, clean, plan.attacks[0].bounds)
    return flags + _covers_range(plan)


def near_chance(clean: np.ndarray, classes: int) -> Flag:
    """Returns the `Flag` of a model that is hardly right without any attack.

    Args:
        clean: Boolean array: which examples are right before any attack.
        classes: The number of classes.
    """
    accuracy, chance = float(clean.mean()), 1 / classes
    wrong_at_most = 1 - (chance + CHANCE * (1 - chance))
    return Flag(
        "near_chance",
        1 - accuracy,
        wrong_at_most,
        f"the model is right on {accuracy:.1%} of the images without any attack, "
        f"where chance among {classes} classes is {chance:.1%}: look at the "
        "labels, the unit of the pixels and the training before any robust accuracy"
        if 1 - accuracy > wrong_at_most
        else f"{accuracy:.1%} of the images are right without attack, chance is "
        f"{chance:.1%}",
        CARLINI,
    )


def not_finite(finite: np.ndarray, rows: Sequence[RowArrays]) -> Flag:
    """Returns the `Flag` of answers that are NaN or infinite.

    Args:
        finite: Boolean array: whose logits are finite before any attack.
        rows: List of `RowArrays`, one for each row.
    """
    after = np.all([finite, *(row.finite for row in rows)], axis=0)
    share = float((~after).mean())
    return Flag(
        "nan_outputs",
        share,
        0.0,
        f"logits are not finite on {int((~finite).sum())} of {len(finite)} images, and "
        f"on {int((~after).sum())} with those that attacks led there; they count as "
        "broken: the training has diverged, or numbers overflow"
        if share
        else "all logits are finite",
        "AutoAttack's checks (arXiv 2003.01690)",
    )


def _unit(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    clean: np.ndarray,
    bounds: Bounds,
) -> list[Flag]:
    """Looks whether the images are right in the other usual unit of pixels."""
    factors: dict[Bounds, float] = {(0.0, 1.0): 255.0, (0.0, 255.0): 1 / 255}
    factor = factors.get(bounds)
    accuracy = float(clean[:UNIT_EXAMPLES].mean())
    if factor is None or accuracy >= UNIT_ACCURACY:
        return []
    some = slice(None, UNIT_EXAMPLES)
    other = classifier.right((x[some] * np.float32(factor)), y[some]).mean()
    unit = (0, 255) if factor > 1 else (0, 1)
    gap = float(other) - accuracy
    return [
        Flag(
            "pixel_unit",
            gap,
            UNIT_GAP,
            f"the model is right on {accuracy:.1%} of the images as they are and on "
            f"{other:.1%} of them with pixels in {list(unit)}: they seem to be in "
            f"another unit than it was trained on; give bounds={unit}, and eps in that "
            "unit"
            if gap > UNIT_GAP
            else f"the images are not better known with pixels in {list(unit)}",
            CARLINI,
        )
    ]


def _covers_range(plan: Plan) -> list[Flag]:
    """An eps of half the range makes every image grey, and every other's neighbour."""
    shares = [
        (covered(attack.eps, attack.bounds), attack.eps)
        for attack in plan.attacks
        if attack.norm == "linf" and attack.eps is not None
    ]
    if not shares:
        return []
    share, eps = max(shares)
    return [
        Flag(
            "eps_covers_range",
            share,
            1 - 1e-6,
            f"an eps of {eps:g} covers half the range of the pixels, so that any two "
            "images can be made the same: no model can hold there"
            if share > 1 - 1e-6
            else f"an eps of {eps:g} covers {share:.0%} of half the pixels' range",
            CARLINI,
        )
    ]

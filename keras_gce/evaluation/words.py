"""What a report's page says in plain words: sizes, shares, signs."""

import math
import re
from typing import Any

from keras_gce.evaluation.results import AttackResult, Flag

__all__ = [
    "SIGNS",
    "ball_text",
    "budget_text",
    "cell",
    "images",
    "inside",
    "interval_text",
    "loss_text",
    "portion",
    "sign",
    "title",
]

SIGNS = {
    "nan_outputs": "Answers that are not numbers",
    "constant_outputs": "The same answer for every image",
    "near_chance": "Hardly right even without an attack",
    "pixel_unit": "Pixels in another unit than the model knows",
    "eps_covers_range": "An eps so wide that no model can hold",
    "training_loss_hides": "The training loss hides the gradient from attacks",
    "one_step_beats_iterative": "One step breaks more than many steps do",
    "one_step_does_nothing": "One step breaks nothing where many break much",
    "larger_eps_is_weaker": "A larger eps breaks fewer images",
    "black_box_beats_white_box": "Attacks without the gradient break what others leave",
    "zero_gradients": "Gradients of exactly zero",
    "nan_gradients": "Gradients that are not numbers",
    "loss_does_not_rise": "PGD ends where it began",
    "unbounded_attack_fails": "The attack fails even with no limit to it",
    "more_steps_gain": "More steps and starts still break more",
    "random_directions_beat_gradient": "A random step does more than the gradient's",
    "black_box_gains_with_eps": "Square breaks what PGD leaves",
    "substitute_beats_attacks": "A copy of the model is enough to break more",
    "randomised_outputs": "Another answer to the same image each time",
    "logits_stand_still": "Answers that hardly differ: a plateau",
    "logits_jump": "Answers that jump from plateau to plateau",
    "softmax_saturates": "Probabilities that round to exactly 1",
    "logit_scale": "Logits so large that the loss rounds to zero",
}
LOSSES = {
    "crossentropy": "cross-entropy",
    "training": "the training loss",
    "margin": "the margin",
}


def title(report: Any) -> str:
    """Returns what a report is of: the model's file and dataset, or the model's name.

    Of a part it says which, so that nobody quotes it as the whole.

    Args:
        report: A `RobustnessReport`.
    """
    file, data = (_last(report.setup.get(name, "")) for name in ("model", "dataset"))
    text = f"{file or report.model}{f' on {data}' if data else ''}"
    if report.part is not None:
        text += f", part {report.part.number} of {report.part.of}"
    return text


def _last(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part]
    return parts[-1] if parts else ""


def sign(flag: Flag) -> str:
    """Returns what a sign is called in plain words."""
    return SIGNS.get(flag.name, flag.name)


def loss_text(loss: str | None) -> str:
    """Returns what an attack ascends, such as " through cross-entropy", or ""."""
    return "" if loss is None else f" through {LOSSES.get(loss, loss)}"


def ball_text(report: Any, eps: float | None, norm: str | None = None) -> str:
    """Returns a radius as text, such as "8/255 (linf)", or 0.1 where it is none such.

    Args:
        report: A `RobustnessReport`, whose attacks know the range of the pixels.
        eps: The radius, or `None`.
        norm: The norm, to be named too. Defaults to `None`.
    """
    if eps is None:
        return "no radius"
    text = f"{eps:.4g}"
    bounds = [
        row.settings["bounds"] for row in report.results if row.settings.get("bounds")
    ]
    in_unit = bool(bounds) and all(one == [0, 1] for one in bounds)
    # 0.2 is 51/255, and nobody calls it that.
    if in_unit and float(f"{eps:.2g}") != eps:
        k = round(255 * eps)
        if k and abs(255 * eps - k) <= 1e-6 * k:
            text = f"{k}/255"
    if any(row.by_feature for row in report.results):
        text += " by feature"
    return f"{text} ({norm})" if norm else text


def cell(text: str) -> str:
    """Returns text as a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def budget_text(report: Any, row: AttackResult) -> str:
    """Returns what bounds an attack: its radius, JSMA's gamma, or "" for neither."""
    return row.budget if row.eps is None else ball_text(report, row.eps)


def portion(right: int, n: int) -> str:
    """Returns a share in words, rounded up by half a point of a hundred at most.

    Example:

    >>> portion(100, 400), portion(243, 1000), portion(3, 1000), portion(7, 19)
    ('1 of 4', 'about 24 of 100', 'fewer than 1 of 100', '7 of 19')

    Args:
        right: How many.
        n: Of how many.
    """
    if right in (0, n):
        return "all" if right else "none"
    for of in (2, 3, 4, 5, 10):
        part = round(right * of / n)
        error = part / of - right / n
        if 0 < part < of and -0.01 <= error <= 0.005:
            return f"{'' if part * n == right * of else 'about '}{part} of {of}"
    if n <= 100:
        return f"{right} of {n}"
    part = 100 * right // n
    if part == 0:
        return "fewer than 1 of 100"
    return f"{'about ' if 100 * right % n else ''}{part} of 100"


def images(right: int, n: int) -> str:
    """Returns in words how many of `n` images keep their class.

    Example:

    >>> images(100, 400), images(0, 400)
    ('1 of 4 images keeps its class', 'no image keeps its class')

    Args:
        right: How many do.
        n: Of how many.
    """
    if right in (0, n):
        return f"{'every' if right else 'no'} image keeps its class"
    share = portion(right, n)
    one = re.fullmatch("(about )?1 of .*", share)
    return f"{share} images {'keeps its' if one else 'keep their'} class"


def inside(text: str) -> str:
    """Returns a sentence's words as they stand within another one."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def interval_text(low: float, high: float) -> str:
    """Returns an interval in percent, such as "21 to 29%", or "at most 0.4%"."""
    digits = 0 if high - low >= 0.03 else 1
    scale = 10.0**digits
    if low == 0:
        return f"at most {math.ceil(100 * high * scale) / scale:.{digits}f}%"
    if high == 1:
        return f"at least {math.floor(100 * low * scale) / scale:.{digits}f}%"
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}%"

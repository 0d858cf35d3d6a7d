"""`merge`: the reports of parts of a test set, made one."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_gce.errors import InputError
from keras_gce.evaluation.adversarial import AdversarialExamples
from keras_gce.evaluation.flags import ROW_CHECKS, row_checks
from keras_gce.evaluation.gallery import LEFT, SIZE
from keras_gce.evaluation.gradients import gradient_flags
from keras_gce.evaluation.record import figures_of
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.results import Flag, GalleryExample, Part, RowArrays
from keras_gce.evaluation.sanity import FIRST, near_chance, not_finite

__all__ = ["merge"]

Pairs: TypeAlias = list[tuple[RobustnessReport, Part]]


def merge(reports: Sequence[RobustnessReport]) -> RobustnessReport:
    """Joins the reports of all parts of a test set into the report of all of it.

    Its rows, its accuracies and what these say of masked gradients are computed anew
    from all examples: they are those of one evaluation of the whole with the same
    `batch_size`. A check that can't be had from the examples is that of the part where
    its figure is worst, and its message names the part. Seconds are sums.

    Example:

    >>> import keras, numpy as np
    >>> from keras_gce.attacks import FGSM
    >>> from keras_gce.evaluation import evaluate
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> data = np.full((9, 4), 0.5, "float32"), np.zeros(9, int)
    >>> settings = {"batch_size": 3, "progress": False, "diagnostics": False}
    >>> parts = [
    ...     evaluate(model, data, FGSM(eps=0.1), part=(i, 2), **settings)
    ...     for i in (1, 2)
    ... ]
    >>> [len(part.clean) for part in parts], len(merge(parts).clean)
    ([6, 3], 9)

    Args:
        reports: List of the n reports that `evaluate` made with `part=(1, n)` to
            `(n, n)`, in any order.

    Returns:
        A `RobustnessReport`.

    Raises:
        InputError: If they are not all the parts of one evaluation.
    """
    pairs = _checked(reports)
    first, parts = pairs[0][0], [part for _, part in pairs]
    order = _order(parts)
    clean = np.concatenate([report.clean for report, _ in pairs])[order]
    robust = np.concatenate([report.row_robust for report, _ in pairs], axis=1)
    robust = robust[:, order]
    rows = [_joined(one, order) for one in zip(*(p.rows for p in parts), strict=True)]
    results = [
        dataclasses.replace(
            result,
            seconds=sum(report.results[i].seconds for report, _ in pairs),
            **figures_of(clean, robust[i], rows[i]),
        )
        for i, result in enumerate(first.results)
    ]
    finite = np.concatenate([part.finite for part in parts])[order]
    known = [not_finite(finite, rows), near_chance(clean, parts[0].num_classes)]
    checks = known + _others(pairs, [*(flag.name for flag in known), *ROW_CHECKS])
    sanity = sorted(
        (flag for flag in checks if flag.name in FIRST),
        key=lambda flag: FIRST.index(flag.name),
    )
    if not first.worst_case_only:
        sanity += row_checks(results, robust, clean, parts[0].opens)
    labels = [report.labels for report, _ in pairs if report.labels is not None]
    return dataclasses.replace(
        first,
        results=results,
        clean=clean,
        row_robust=robust,
        checks=sanity + [flag for flag in checks if flag.name not in FIRST],
        versions=_texts((report.versions for report, _ in pairs), ", "),
        skipped=_once(text for report, _ in pairs for text in report.skipped),
        labels=np.concatenate(labels)[order] if len(labels) == len(pairs) else None,
        curves=next((report.curves for report, _ in pairs if report.curves), []),
        gallery=_gallery(pairs),
        setup=_texts((report.setup for report, _ in pairs), "; "),
        adversarial=_adversarial(report.adversarial for report, _ in pairs),
        part=None,
    )


def _checked(reports: Any) -> Pairs:
    """The reports and their parts in order, once they are known to make a whole."""
    given = list(reports) if isinstance(reports, (list, tuple)) else []
    if not given or not all(isinstance(one, RobustnessReport) for one in given):
        raise InputError(
            "`reports` must be a list of reports, one for each part. "
            f"Received: {type(reports).__name__} of "
            f"{', '.join(type(one).__name__ for one in given) or 'none'}"
        )
    pairs: Pairs = []
    for number, report in enumerate(given, 1):
        if report.part is None:
            raise InputError(
                "`reports` must be of parts, each made with part=(i, n). Received: as "
                f"number {number} of them one of a whole test set, of {report.model}"
            )
        pairs.append((report, report.part))
    pairs.sort(key=lambda pair: pair[1].number)
    for before, after in zip(pairs, pairs[1:], strict=False):
        _check_fit(pairs[0], after)
        if before[1].number == after[1].number:
            raise InputError(
                "`reports` must hold each part once. "
                f"Received: {_name(after[1])} more than once"
            )
    of, there = pairs[0][1].of, [part.number for _, part in pairs]
    missing = [number for number in range(1, of + 1) if number not in there]
    if missing:
        *most, last = map(str, missing)
        text = f"part {last} of {of} is missing"
        if most:
            text = f"parts {', '.join(most)} and {last} of {of} are missing"
        raise InputError(
            f"`reports` must be of all {of} parts. Received: {len(pairs)}; {text}"
        )
    return pairs


def _check_fit(
    first: tuple[RobustnessReport, Part], other: tuple[RobustnessReport, Part]
) -> None:
    """Refuses a part of another evaluation, saying in what it is another."""
    kinds: dict[str, Callable[[RobustnessReport, Part], Any]] = {
        "number of parts": lambda report, part: part.of,
        "version of keras_gce": lambda report, part: report.versions.get("keras_gce"),
        "model, training loss, data, attacks or settings": lambda report, part: (
            part.fingerprint
        ),
        # Where no gradient can be had in some of the parts; see `with_black_boxes`.
        "list of attacks run": lambda report, part: [
            (row.name, row.settings) for row in report.results
        ],
        "list of class names": lambda report, part: report.class_names,
    }
    for kind, of in kinds.items():
        if of(*first) != of(*other):
            raise InputError(
                "`reports` must be parts of one evaluation. Received: "
                f"{_name(other[1])} of another {kind} than {_name(first[1])}"
            )


def _name(part: Part) -> str:
    return f"part {part.number} of {part.of}"


def _order(parts: Sequence[Part]) -> np.ndarray:
    """What brings the examples of the parts, one after the other, to their places."""
    places = np.concatenate([part.index for part in parts])
    order = np.argsort(places, kind="stable")
    count = parts[0].n_whole
    if len(places) != count or (places[order] != np.arange(count)).any():
        raise InputError(
            f"`reports` must hold each of {count} examples once. Received: parts that "
            "hold some of them twice, or not at all"
        )
    return order


def _joined(rows: Sequence[RowArrays], order: np.ndarray) -> RowArrays:
    """One row of all parts."""
    names = [field.name for field in dataclasses.fields(RowArrays)]
    arrays = {n: np.concatenate([vars(row)[n] for row in rows])[order] for n in names}
    return RowArrays(**arrays)


def _others(pairs: Pairs, computed: Sequence[str]) -> list[Flag]:
    """Of the checks that are not computed anew, the worst figure of each name."""
    counts: dict[str, list[int]] = {}
    by_name: dict[str, list[tuple[Part, Flag]]] = {}
    looked = 0
    for report, part in pairs:
        n_right = int(report.clean.sum())
        looked += n_right if part.gradients else 0
        for loss, numbers in part.gradients.items():
            before = counts.get(loss, [0, 0])
            counts[loss] = [a + b for a, b in zip(before, numbers, strict=True)]
        # What only counts gradients is counted of all parts together.
        counted = gradient_flags(part.gradients, n_right)
        for check in report.checks:
            if check.name not in computed and check not in counted:
                by_name.setdefault(check.name, []).append((part, check))
    merged = {flag.name: flag for flag in gradient_flags(counts, looked)}
    for name, found in by_name.items():
        part, check = max(found, key=lambda one: one[1].figure)
        if len(found) < len(pairs) or any(other != check for _, other in found):
            text = f"in {_name(part)}: {check.message}"
            check = dataclasses.replace(check, message=text)
        if name not in merged or check.figure > merged[name].figure:
            merged[name] = check
    return list(merged.values())


def _texts(dicts: Iterable[dict[str, str]], separator: str) -> dict[str, str]:
    """Under each name all that the dicts have there, once."""
    found: dict[str, list[str]] = {}
    for one in dicts:
        for name, text in one.items():
            found.setdefault(name, []).append(text)
    return {name: separator.join(_once(texts)) for name, texts in found.items()}


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _gallery(pairs: Pairs) -> list[GalleryExample]:
    """The first that attacks broke, and the first that they left."""
    examples = [example for report, _ in pairs for example in report.gallery]
    examples.sort(key=lambda example: example.index)
    broken = [example for example in examples if not example.left]
    left = [example for example in examples if example.left]
    return broken[:SIZE] + left[:LEFT]


def _adversarial(
    parts: Iterable[AdversarialExamples | None],
) -> AdversarialExamples | None:
    """What broke each image, where all parts kept it."""
    kept = list(parts)
    there = [one for one in kept if one is not None]
    if len(there) < len(kept):
        return None
    order = np.argsort(np.concatenate([one.index for one in there]))
    names = [field.name for field in dataclasses.fields(AdversarialExamples)]
    arrays = {n: np.concatenate([vars(one)[n] for one in there])[order] for n in names}
    return AdversarialExamples(**arrays)

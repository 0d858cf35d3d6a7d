"""What an evaluation is going to run, found out before the first attack."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_gce.attacks import Square
from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.evaluation.threat_models import THREAT_MODELS
from keras_gce.per_feature import Bounds, Eps

__all__ = ["Plan", "Row", "asked", "make_plan"]

# Of Square, where it stands in for attacks that have no gradient to follow.
QUERIES = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One attack, with one loss.

    Args:
        attack: The attack.
        ensemble: Name of the ensemble that it is of, or `None`.
        group: Number of the rows that each attack only what those before them left
            right, or `None`.
        opens: Whether it attacks all examples that are right: every row does, but the
            second and later ones of a group.
        same_as: Number of the row that runs the very same: of a training loss that is
            cross-entropy. `None`: no other does.
    """

    attack: Attack
    ensemble: str | None = None
    group: int | None = None
    opens: bool = True
    same_as: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows of an evaluation.

    Args:
        threat_model: Name of the threat model, or `None`.
        rows: Tuple of `Row`.
        skipped: List of text: what can't run here, and why.
        worst_case_only: Whether each row attacks only what the rows before it left.
    """

    threat_model: str | None
    rows: tuple[Row, ...]
    skipped: list[str]
    worst_case_only: bool = False

    @property
    def attacks(self) -> list[Attack]:
        """The attacks of the rows."""
        return [row.attack for row in self.rows]

    def with_black_boxes(self) -> "Plan":
        """Returns the plan with an attack without the gradient for each of its balls.

        For models whose gradient can't be had at all: what asks for it moves nothing.
        """
        balls: dict[tuple[Eps, str | None], list[Attack]] = {}
        for attack in self.attacks:
            if attack.eps is not None:
                balls.setdefault((attack.eps, attack.norm), []).append(attack)
        alone = [
            same[0].ball
            for same in balls.values()
            if all(attack.needs_gradient for attack in same)
        ]
        added = [Row(attack=Square(queries=QUERIES, **ball)) for ball in alone]
        rows = [*self.rows, *added]
        if self.worst_case_only:
            rows = [_in_worst_case(rows, i) for i in range(len(rows))]
        return dataclasses.replace(self, rows=tuple(rows))


def asked(
    attacks: Attack | Sequence[Attack],
    threat_model: str | None,
    bounds: tuple[float, float] | None = None,
) -> list[Attack]:
    """Returns the attacks of a call, once nothing is wrong with them by themselves.

    Args:
        attacks: One attack, or a list of attacks.
        threat_model: Its name, or `None`.
        bounds: The least and the greatest value of a pixel, for all attacks; `None`:
            each attack's own.

    Raises:
        InputError: If an argument is not as described, or there is no attack.
    """
    if threat_model is not None and threat_model not in list(THREAT_MODELS):
        raise InputError(
            f"`threat_model` must be one of {', '.join(THREAT_MODELS)}, or None. "
            f"Received: threat_model={threat_model!r}"
        )
    many = isinstance(attacks, (list, tuple))
    given: Any = attacks if many else [attacks]
    if not given:
        raise InputError(f"`attacks` must hold at least one attack. Received: {given}")
    return [_checked(attack, bounds) for attack in given]


def make_plan(
    attacks: Attack | Sequence[Attack],
    threat_model: str | None,
    classifier: Classifier,
    bounds: Bounds | None = None,
    worst_case_only: bool = False,
) -> Plan:
    """Returns what is to be run; a gradient attack once with each loss.

    Args:
        attacks: One attack, or a list of attacks.
        threat_model: Its name, or `None`: each attack keeps its own loss.
        classifier: The `Classifier` of the model, which knows its images: what an
            ensemble consists of depends on them.
        bounds: The least and the greatest value of a pixel, for all attacks; `None`:
            each attack's own.
        worst_case_only: Whether each row attacks only what the rows before it left.

    Returns:
        A `Plan`.

    Raises:
        InputError: If an argument is not as described, or nothing is left to run.
    """
    given = asked(attacks, threat_model, bounds)
    losses: tuple[str, ...] = ()
    skipped: list[str] = []
    if threat_model is not None:
        losses = THREAT_MODELS[threat_model].losses
        if classifier.loss_missing and len(losses) > 1:
            losses = tuple(loss for loss in losses if loss != "training")
            skipped.append(
                f"attacks through the training loss: {classifier.loss_missing}"
            )
    rows: list[Row] = []
    seen: list[Attack] = []
    for number, attack in enumerate(given):
        ensemble = attack.ensemble(classifier)
        alone = ensemble is None
        for i, one in enumerate(_rows_of(attack, losses if alone else (), classifier)):
            if one.unavailable:
                skipped.append(f"{one.name} of {one.engine}: {one.unavailable}")
                continue
            if alone and one in seen:  # Two attacks may differ in nothing but a loss.
                continue
            seen.append(one)
            rows.append(
                Row(
                    attack=one,
                    ensemble=ensemble,
                    group=None if alone else number,
                    opens=alone or i == 0,
                    same_as=None if not alone else _twin(rows, one, classifier),
                )
            )
    skipped = list(dict.fromkeys(skipped))
    if not rows:
        raise InputError(
            "`attacks` must hold at least one attack that runs here. "
            f"Received: {skipped or attacks}"
        )
    _check_shares([row.attack for row in rows])
    if worst_case_only:
        rows = [_in_worst_case(rows, i) for i in range(len(rows))]
    return Plan(
        threat_model=threat_model,
        rows=tuple(rows),
        skipped=skipped,
        worst_case_only=worst_case_only,
    )


def _check_shares(attacks: Sequence[Attack]) -> None:
    """Refuses attacks whose eps, as arrays, are not in proportion."""
    shares = [attack.shares for attack in attacks if attack.eps]
    if any(one != shares[0] for one in shares):
        found = sorted({repr(attack.eps) for attack in attacks if attack.eps})
        raise InputError(
            "`attacks` must have the same `eps` in a call, or multiples of it, where "
            "it is an array: each feature then has its share of one radius. "
            f"Received: eps={', '.join(found)}"
        )


def _checked(attack: Attack, bounds: Bounds | None) -> Attack:
    if not isinstance(attack, Attack):
        raise InputError(
            "`attacks` must hold attacks of keras_gce.attacks or CleverHansAttack. "
            f"Received: {attack!r}"
        )
    if attack.targeted:
        raise InputError(
            "`attacks` must be untargeted here, where the labels are the true "
            f"classes; call the attack itself. Received: {attack!r}"
        )
    return attack if bounds is None else attack.with_bounds(bounds)


def _rows_of(
    attack: Attack, losses: Sequence[str], classifier: Classifier
) -> Sequence[Attack]:
    if attack.loss is None or not losses:
        return attack.rows(classifier)
    return [attack.with_loss(loss) for loss in losses]


def _twin(rows: Sequence[Row], attack: Attack, classifier: Classifier) -> int | None:
    """The row that runs this already: the training loss may be cross-entropy."""
    if attack.loss != "training" or not classifier.is_crossentropy:
        return None
    twin = attack.with_loss("crossentropy")
    for number, row in enumerate(rows):
        if row.attack == twin and row.group is None:
            return number
    return None


def _in_worst_case(rows: Sequence[Row], number: int) -> Row:
    """Those with a radius are one group, those without another."""
    within = rows[number].attack.eps is not None
    before = [row for row in rows[:number] if (row.attack.eps is not None) == within]
    return dataclasses.replace(
        rows[number], group=int(within), opens=not before, same_as=None
    )

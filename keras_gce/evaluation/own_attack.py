"""The attack that evaluation runs of its own accord: signs, curves, transfer."""

import dataclasses
from typing import Any, TypeVar

from keras_gce.attacks import APGD, PGD
from keras_gce.attacks.in_ball import LossAttack
from keras_gce.per_feature import Bounds, Eps, resized

__all__ = ["own_attack", "scaled"]

A = TypeVar("A", bound=LossAttack)


def own_attack(
    eps: Eps,
    norm: str,
    bounds: Bounds,
    steps: int = 40,
    loss: str = "crossentropy",
    seed: int | None = 0,
) -> PGD | APGD:
    """Returns PGD; in l1, which it doesn't know, Auto-PGD.

    Args:
        eps: Radius of the ball, >= 0.
        norm: The norm of the ball.
        bounds: The least and the greatest value of a pixel.
        steps: Number of steps. Defaults to 40.
        loss: What it ascends. Defaults to `"crossentropy"`.
        seed: Its seed. Defaults to 0.
    """
    settings: dict[str, Any] = {"bounds": bounds, "seed": seed, "loss": loss}
    if norm == "l1":
        return APGD(eps=eps, norm=norm, steps=steps, **settings)
    step_size = float(eps) / (steps / 2.5)
    return PGD(eps=eps, norm=norm, steps=steps, step_size=step_size, **settings)


def scaled(attack: A, radius: float) -> A:
    """Returns the attack in another ball, its step size scaled with the radius."""
    settings: dict[str, Any] = {"eps": resized(attack.eps, radius)}
    # Of attacks that choose their step themselves there is nothing to scale.
    step_size = dataclasses.asdict(attack).get("step_size")
    if step_size is not None and attack.eps:
        settings["step_size"] = step_size * radius / float(attack.eps)
    return dataclasses.replace(attack, **settings)

"""What `diagnose` measures with runs of its own, each figure by a function."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks import APGD, PGD, Square
from keras_gce.attacks.ball import TensorSeed
from keras_gce.attacks.objectives import gradient_of, objective
from keras_gce.checks import Tensor
from keras_gce.classifier import Classifier
from keras_gce.evaluation.gradients import losses_and_gradients
from keras_gce.evaluation.images import survivors
from keras_gce.evaluation.own_attack import own_attack, scaled
from keras_gce.evaluation.substitute import broken_by_substitute
from keras_gce.per_feature import span_of

__all__ = [
    "End",
    "astray",
    "black_box_gain",
    "end_of",
    "gain",
    "substitute_gain",
    "unbounded",
]

# What these run: see `own_attack`.
Own = PGD | APGD
# Random directions beside the gradient's, and the lengths of steps along them, in eps.
DIRECTIONS, STEPS = 4, (1.0, 0.25)
# The share of the features that they change in l1.
CHANGED = 0.2
# Attacks with and without the gradient, at so many times eps; Square's queries there.
TIMES, QUERIES = (1, 2, 4), 300


@dataclasses.dataclass(frozen=True)
class End:
    """Where an attack has led: who is still right, and what the loss did there."""

    right: np.ndarray
    stays: float
    no_gradient: float


def end_of(classifier: Classifier, x: np.ndarray, y: np.ndarray, attack: Own) -> End:
    """Returns where PGD leads images that are right, all of its steps taken."""
    x_adv = np.asarray(attack.run(classifier, x, y))
    before, _, _ = losses_and_gradients(classifier, x, y, attack.loss)
    after, _, nan = losses_and_gradients(classifier, x_adv, y, attack.loss)
    # A loss that became NaN or infinite has been led off.
    stays = (after <= before) & np.isfinite(after)
    return End(
        right=classifier.right(x_adv, y),
        stays=float(stays.mean()) if attack.eps else 0.0,
        no_gradient=float(nan.mean()),
    )


def unbounded(attack: Own, x: np.ndarray) -> Own:
    """Returns the attack in a ball that holds every image of `x`'s shape."""
    size = x[0].size
    reach = span_of(attack.bounds)
    reach *= {"linf": 1.0, "l2": float(np.sqrt(size)), "l1": size}[attack.norm]
    return own_attack(reach, attack.norm, attack.bounds, loss=attack.loss)


def gain(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    attack: Own,
    left: np.ndarray,
) -> float:
    """The share that attacks leave and more steps from more starts break."""
    if not left.any() or not attack.eps:
        return 0.0
    longer = dataclasses.replace(attack, steps=4 * attack.steps, restarts=3, seed=1)
    still = survivors(classifier, x[left], y[left], longer)
    return float((~still).sum() / len(x))


def astray(classifier: Classifier, x: np.ndarray, y: np.ndarray, attack: Own) -> float:
    """The share on which a random step does more than one along the gradient.

    Of a long and of a short step the smaller share: a long one may overstep.
    """
    if not attack.eps:
        return 0.0

    def run(
        classifier: Classifier, x: Tensor, y: Tensor, eps: Tensor, seed: Tensor
    ) -> list[Tensor]:
        margin, geometry = objective("margin", classifier), attack.geometry
        features = int(np.prod(x.shape[1:]))

        def values(v: Tensor) -> tuple[Tensor, tuple[()]]:
            return margin(y, classifier.logits(v)), ()

        def after(direction: Tensor) -> Tensor:
            return values(geometry.keep(x + eps * direction, x, eps))[0]

        def steepest(gradient: Tensor) -> Tensor:
            if geometry.norm == "l1":
                some = ops.zeros_like(y, dtype="float32") + CHANGED * features
                return geometry.sparse(gradient, some)
            return geometry.direction(gradient)

        gradient = gradient_of(classifier, values, x, geometry.bounds)[0]
        random = TensorSeed(seed)
        steps = [steepest(ops.nan_to_num(gradient))]
        for _ in range(DIRECTIONS):
            # Of linf balls a corner, as the gradient's is; in l1 of as many features.
            steps.append(steepest(geometry.random_direction(x, random)))
        return [after(step) for step in steps]

    shares = []
    for share in STEPS:
        along, *beside = backend.run_compiled(
            classifier,
            ("astray", attack.kind, classifier.trace_key(None)),
            run,
            (x, y),
            {
                "eps": np.float32(share * float(attack.eps)),
                "seed": np.array([0, 0], "int32"),
            },
        )
        best = np.max([np.asarray(value) for value in beside], axis=0)
        shares.append(float((best > np.asarray(along)).mean()))
    return min(shares)


def black_box_gain(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    attacks: Sequence[Own],
    left: np.ndarray,
) -> float:
    """The most that an attack without the gradient breaks and PGD leaves."""
    most = 0.0
    for times in TIMES if attacks[0].eps else ():
        still = np.flatnonzero(left)
        # Within eps all but the last have run.
        for attack in attacks if times > 1 else attacks[-1:]:
            wider = scaled(attack, times * float(attack.eps))
            still = still[survivors(classifier, x[still], y[still], wider)]
        if not len(still):
            break
        ball = scaled(attacks[0], times * float(attacks[0].eps)).ball
        black = Square(queries=QUERIES, **ball)
        broken = ~survivors(classifier, x[still], y[still], black)
        most = max(most, float(broken.sum() / len(x)))
    return most


def substitute_gain(
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    pool: np.ndarray,
    attack: Own,
    left: np.ndarray,
) -> float:
    """The share that a substitute's adversarial examples break and attacks leave."""
    if not left.any() or not attack.eps:
        return 0.0
    shorter = own_attack(
        attack.eps, attack.norm, attack.bounds, steps=20, loss="margin"
    )
    broken = broken_by_substitute(classifier, x[left], y[left], pool, shorter)
    return float(broken.sum() / len(x))

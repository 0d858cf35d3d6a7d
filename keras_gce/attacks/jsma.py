"""JSMA: few pixels, chosen in pairs by their saliency."""

import dataclasses
import math

import numpy as np
from keras import ops

from keras_gce import backend
from keras_gce.attacks.ball import rescale
from keras_gce.attacks.eot import EOTAttack
from keras_gce.attacks.objectives import gradient_of
from keras_gce.attacks.serializable import serializable
from keras_gce.attacks.targets import TargetAttack
from keras_gce.checks import State, Tensor, check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError
from keras_gce.per_feature import limits_of

__all__ = ["JSMA", "best_pair"]

# Candidates are looked at in blocks of this many.
BLOCK = 32


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class JSMA(EOTAttack, TargetAttack):
    """Jacobian-based saliency map attack: changes as few features as it can.

    At each iteration the pair of features (p, q) of the greatest saliency

        -(a_p + a_q) (b_p + b_q),    a_p + a_q > 0,    b_p + b_q < 0

    moves by `theta`, a share of the bounds' range, where a is the gradient of the
    target's logit and b that of the sum of the others' (for theta < 0 both signs turn).
    The maximum is exact; of pairs with the same saliency the one is taken whose
    features come first in the order of falling a, then as the image lies in memory. A
    feature (a pixel's channel) is changed once at most; those at the bound already are
    left out. An example ends at its target class, where no pair is left, or after
    floor(features * gamma / 2) iterations, or `max_iterations` where they are fewer,
    and is returned as it then stands.

    Example:

    >>> JSMA(gamma=0.1).theta
    1.0

    Args:
        theta: Change of a feature, not 0, as a share of the range of `bounds`, so that
            it means the same whatever the unit of the pixels. Defaults to 1.0.
        gamma: Greatest share of the features that is changed, in (0, 1]; two of them
            at least. Defaults to 0.25. For the settings not listed here see
            `TargetAttack` and `Attack`.
        max_iterations: Most iterations that `gamma` may allow, >= 1. Defaults to
            `None`: all that it allows.

    Raises:
        InputError: If an argument is not as described, or `gamma` allows no pair of
            the features that images have.

    Reference:
        Papernot et al., "The Limitations of Deep Learning in Adversarial Settings",
        EuroS&P 2016 (arXiv 1511.07528), Algorithms 2 and 3; on logits, and with each
        feature changed once, as CleverHans 3 had it.
    """

    theta: float = 1.0
    gamma: float = 0.25
    max_iterations: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("theta", self.theta, least=-math.inf)
        if self.theta == 0:
            raise InputError(f"`theta` must not be 0. Received: theta={self.theta}")
        check_number("gamma", self.gamma, least=0)
        if not 0 < self.gamma <= 1:
            raise InputError(
                f"`gamma` must lie in (0, 1]. Received: gamma={self.gamma}"
            )
        if self.max_iterations is not None:
            check_integer("max_iterations", self.max_iterations, least=1)

    def check(self, classifier: Classifier, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses images of so few features that `gamma` allows no pair."""
        super().check(classifier, x, y)
        if self._iterations(x[0].size) < 1:
            features = x[0].size
            raise InputError(
                "`gamma` must allow at least one pair of features, or nothing is "
                f"attacked: at least {2 / features:.3g} for {features} features. "
                f"Received: gamma={self.gamma}"
            )

    def _iterations(self, features: int) -> int:
        allowed = math.floor(features * self.gamma / 2)
        return min(allowed, self.max_iterations or allowed)

    def run(
        self,
        classifier: Classifier,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        stop_early: bool = False,
    ) -> Tensor:
        """Perturbs checked images; an example ends at success in any case."""
        low, high = limits_of(self.bounds)
        return self.compiled(
            classifier,
            _perturb,
            batch=(x, self.targets(classifier, x, y, self.draw_seed(seed))),
            settings={
                "theta": np.asarray(self.theta * (high - low), "float32"),
                "max_iterations": np.int32(self._iterations(int(np.prod(x.shape[1:])))),
                "low": np.asarray(low, "float32"),
                "high": np.asarray(high, "float32"),
                **self.sampled,
            },
            key=bool(self.sampled),
        )

    def passes(self, features: int, num_classes: int) -> float:
        """Returns about how many forward passes it makes for an image."""
        return 2 * self.gradient_passes * self._iterations(features)


def _perturb(
    classifier: Classifier,
    x: Tensor,
    target: Tensor,
    theta: Tensor,
    max_iterations: Tensor,
    low: Tensor,
    high: Tensor,
    eot_samples: Tensor | None = None,
) -> Tensor:
    shape, features = x.shape[1:], int(np.prod(x.shape[1:]))
    sign = ops.sign(ops.max(theta))
    number = ops.arange(features)

    def values(images: Tensor, is_target: Tensor) -> tuple[State, Tensor]:
        z = classifier.logits(images)
        of_target = ops.sum(ops.where(is_target, z, 0.0), axis=-1)
        of_others = ops.sum(ops.where(is_target, 0.0, z), axis=-1)
        return (of_target, of_others), z

    def step(i: Tensor, state: State) -> tuple[State, Tensor]:
        x, target, allowed = state
        is_target = ops.one_hot(target, classifier.num_classes, dtype="bool")
        (a, b), _, z = gradient_of(
            classifier, lambda v: values(v, is_target), x, (low, high), eot_samples
        )
        # What a share of the range brings, where ranges differ.
        a, b = (ops.nan_to_num(g) * (high - low) for g in (a, b))
        a, b = (ops.reshape(g, (-1, features)) for g in (a, b))
        # Products of tiny gradients vanish.
        a, b = (rescale(ops.where(allowed, g, 0.0)) for g in (a, b))
        score, p, q = best_pair(sign * a, -sign * b, allowed)
        reached = ops.equal(ops.cast(ops.argmax(z, -1), "int32"), target)
        reached = reached & ops.all(ops.isfinite(z), axis=-1)
        done = reached | ops.equal(score, -np.inf)
        changed = (number == p[:, None]) | (number == q[:, None])
        changed = changed & ~done[:, None]
        image = ops.clip(x + theta, low, high)
        x = ops.where(ops.reshape(changed, (-1, *shape)), image, x)
        return (x, target, allowed & ~changed), done

    allowed = ops.reshape(ops.where(theta > 0, x < high, x > low), (-1, features))
    return backend.while_active(step, (x, target, allowed), max_iterations)[0]


def best_pair(a: Tensor, c: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the pair (p, q) that maximises (a_p + a_q) (c_p + c_q), both sums > 0.

    Exact without looking at all pairs. The score grows in all four numbers, so a
    feature that two others equal or exceed in both a and c is not needed: whatever
    its partner, one of the two does as well in its place. Few features remain, and
    all of their pairs are scored, in blocks. Rounding does not break this, since it
    is monotonic.

    Args:
        a: Tensor of shape `(N, features)`.
        c: Tensor of shape `(N, features)`.
        allowed: Boolean tensor of shape `(N, features)`: which may be in a pair.

    Returns:
        The maximum, -inf where no pair is allowed; p; q: each of shape `(N,)`. Of
        equal pairs the one whose first, then whose second feature comes first in the
        order of falling a, then of the index.
    """
    features = a.shape[1]
    width = min(BLOCK, features)
    blocks = -(-features // width)
    a = ops.where(allowed, a, -np.inf)
    # Not `top_k`, which under torch is not stable.
    order = ops.argsort(-a, axis=1)
    a = ops.take_along_axis(a, order, axis=1)
    c = ops.take_along_axis(ops.where(allowed, c, -np.inf), order, axis=1)
    needed = c > _second_before(c)

    # The needed ones first, otherwise in the same order.
    rank = ops.arange(features)
    _, packed = ops.top_k(ops.where(needed, features, 0) - rank, features)

    def in_blocks(value: Tensor, fill: float) -> Tensor:
        value = ops.take_along_axis(ops.where(needed, value, fill), packed, axis=1)
        padding = [[0, 0], [0, blocks * width - features]]
        value = ops.pad(value, padding, constant_values=fill)
        return ops.reshape(value, (-1, blocks, width))

    a, c, order = (
        in_blocks(a, -np.inf),
        in_blocks(c, -np.inf),
        in_blocks(ops.cast(order, "int32"), 0),
    )
    most = ops.max(ops.sum(ops.cast(needed, "int32"), axis=1))
    count = (most + width - 1) // width
    upper = ops.convert_to_tensor(np.triu(np.ones((width, width), bool), 1))

    def look(r: Tensor, s: Tensor, best: Tensor, p: Tensor, q: Tensor) -> State:
        def sums(value: Tensor) -> Tensor:
            rows, columns = (ops.take(value, i, axis=1) for i in (r, s))
            return rows[:, :, None] + columns[:, None, :]

        a_sum, c_sum = sums(a), sums(c)
        valid = (a_sum > 0) & (c_sum > 0) & (upper | (r < s))
        score = ops.where(valid, a_sum * c_sum, -np.inf)
        score = ops.reshape(score, (-1, width * width))
        first = ops.cast(ops.argmax(score, axis=1), "int32")
        top = ops.max(score, axis=1)
        new_p, new_q = r * width + first // width, s * width + first % width
        earlier = (new_p < p) | (ops.equal(new_p, p) & (new_q < q))
        better = (top > best) | (ops.equal(top, best) & earlier)
        last = ops.equal(s, count - 1)
        return (
            ops.where(last, r + 1, r),
            ops.where(last, r + 1, s + 1),
            ops.where(better, top, best),
            ops.where(better, new_p, p),
            ops.where(better, new_q, q),
        )

    zero = ops.zeros((), "int32")
    nowhere = ops.zeros_like(order[:, 0, 0])
    best = ops.zeros_like(a[:, 0, 0]) - np.inf
    _, _, best, p, q = ops.while_loop(
        lambda r, *_: r < count, look, (zero, zero, best, nowhere, nowhere)
    )
    order = ops.reshape(order, (-1, blocks * width))
    p, q = (ops.take_along_axis(order, i[:, None], axis=1)[:, 0] for i in (p, q))
    return best, p, q


def _second_before(c: Tensor) -> Tensor:
    """Returns, for each entry of a row, the second greatest of those before it."""

    def moved(value: Tensor, by: int) -> Tensor:
        return ops.pad(value, [[0, 0], [by, 0]], constant_values=-np.inf)[:, :-by]

    first = moved(c, 1)
    second = ops.zeros_like(c) - np.inf
    by = 1
    while by < c.shape[1]:
        # Of two windows side by side, each twice as wide as the last time.
        other, other_second = moved(first, by), moved(second, by)
        second = ops.maximum(
            ops.minimum(first, other), ops.maximum(second, other_second)
        )
        first = ops.maximum(first, other)
        by *= 2
    return second

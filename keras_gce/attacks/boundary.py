"""HopSkipJump's walk: what examples ask next, and where they go from the answers."""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_gce.attacks.ball import TensorSeed, normalize
from keras_gce.attacks.batch import by_example, choose
from keras_gce.attacks.geometry import Geometry
from keras_gce.checks import Tensor

__all__ = ["Ball", "Walk", "learn", "query"]

# What an example's next query is: a random image, a point on the way back to its own
# image, one beside the boundary, one along the step.
TRY, BACK, PROBE, STEP = range(4)
# How far beside the boundary probes lie: of the range of the pixels at first, later of
# the distance from the image.
FIRST, LATER = 0.1, 0.01
# Of the range: what float32 can still tell apart.
FINEST = 1e-7
# How many of the last queries are left to the step and the way back.
RESERVE = 20


class Walk(NamedTuple):
    """Where the examples are: their own images are `x`."""

    best: Tensor  # The nearest success in the ball.
    used: Tensor  # Queries.
    least: Tensor  # How far `best` is; infinite: there is none.
    now: Tensor  # On the boundary, or where the way back began.
    ups: Tensor  # While probing the sum of what fools less what doesn't, then the step.
    total: Tensor  # The sum of all probes.
    phase: Tensor
    t: Tensor  # The number of the estimate.
    count: Tensor  # How many probes it has so far,
    net: Tensor  # and how many more of them fool than don't.
    near: Tensor  # On the way back a distance that doesn't fool, and one that does,
    far: Tensor  # which is that of `now` on the boundary.
    size: Tensor  # Length of the step.
    x: Tensor
    y: Tensor

    @classmethod
    def begin(cls, x: Tensor, y: Tensor) -> "Walk":
        """Returns where images `x` of classes y are before the first query."""
        zero, none = ops.zeros_like(y, dtype="float32"), ops.zeros_like(x)
        return cls(
            best=x,
            used=ops.zeros_like(y, dtype="int32"),
            least=zero + np.inf,
            now=x,
            ups=none,
            total=none,
            phase=ops.zeros_like(y, dtype="int32") + TRY,
            t=ops.zeros_like(y, dtype="int32"),
            count=zero,
            net=zero,
            near=zero,
            far=zero,
            size=zero,
            x=x,
            y=y,
        )


class Ball:
    """Balls, and the ways into them."""

    def __init__(self, geometry: Geometry, eps: Tensor) -> None:
        self.geometry, self.norm, self.eps = geometry, geometry.norm, eps
        # Of the length of what is in the ball, which is rounded.
        self.most = eps * (1 + 1e-5)

    def length(self, delta: Tensor) -> Tensor:
        """Returns the length of each image's change."""
        return ops.reshape(self.geometry.length(delta), (-1,))

    def back(self, now: Tensor, x: Tensor, away: Tensor) -> Tensor:
        """Returns the point on the way from `now` to x that is so far from x."""
        if self.norm == "linf":
            reach = self.geometry.change(by_example(away, x))
            return ops.clip(now, x - reach, x + reach)
        share = ops.minimum(away / ops.maximum(self.length(now - x), 1e-30), 1.0)
        return x + by_example(share, x) * (now - x)

    def keep(self, point: Tensor, x: Tensor) -> Tensor:
        """Returns `point` within the bounds and, where it is in the ball, exactly so.

        Before it is asked: what is returned has then been asked.
        """
        point = self.geometry.pinned(ops.clip(point, *self.geometry.bounds), x)
        inside = self.geometry.keep(point, x, self.eps)
        return choose(self.length(point - x) <= self.most, inside, point)

    def error(self, x: Tensor, far: Tensor) -> Tensor:
        """Returns where on the way back the boundary is found well enough.

        It is to the probes' length as the paper has it: for d features 1/d in linf, and
        1/sqrt(d) in l2.
        """
        features = int(np.prod(x.shape[1:]))
        share = LATER / (features if self.norm == "linf" else features**0.5)
        return ops.maximum(share * far, FINEST * self.geometry.span)

    def beside(self, walk: Walk) -> Tensor:
        """Returns how far beside the boundary, in l2, the probes lie."""
        later = ops.maximum(LATER * walk.far, 10 * FINEST * self.geometry.span)
        return ops.where(ops.equal(walk.t, 1), FIRST * self.geometry.span, later)


def query(walk: Walk, ball: Ball, i: Tensor, draw: TensorSeed) -> Tensor:
    """The next point to ask the model about."""
    x, trying = walk.x, ops.equal(walk.phase, TRY)
    ahead = choose(
        ops.equal(walk.phase, PROBE),
        by_example(ball.beside(walk), x) * _noise(x, ball.geometry, draw),
        by_example(walk.size, x) * walk.ups,
    )
    back = ball.back(walk.now, x, _middle(walk, ball))
    ahead = walk.now + ball.geometry.change(ahead)
    point = choose(ops.equal(walk.phase, BACK), back, ahead)
    return ops.cond(
        ops.any(trying),
        lambda: choose(trying, _random_image(i, x, ball.geometry, draw), point),
        lambda: point,
    )


def _middle(walk: Walk, ball: Ball) -> Tensor:
    """How far from the image the way back is tried next."""
    # At the edge of the ball first: what is said there is what counts in the end.
    edge = (walk.near <= 0) & (ball.eps < walk.far) & (ball.eps > 0)
    return ops.where(edge, ball.eps, (walk.near + walk.far) / 2)


def _random_image(i: Tensor, x: Tensor, geometry: Geometry, draw: TensorSeed) -> Tensor:
    """Noise over the whole range at first, then between two random greys."""
    grey = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
    first = ops.equal(i, 0)
    start = ops.where(first, 0.0, draw.uniform(grey))
    end = ops.where(first, 1.0, draw.uniform(grey))
    share = start + (end - start) * draw.uniform(ops.shape(x))
    return geometry.low + geometry.range * share


def _noise(x: Tensor, geometry: Geometry, draw: TensorSeed) -> Tensor:
    """Random directions of the free features, of length 1 in l2."""
    if geometry.norm == "l2":
        return normalize(geometry.free(draw.normal(ops.shape(x))), "l2")
    return normalize(geometry.free(draw.uniform(ops.shape(x), -1.0, 1.0)), "l2")


def learn(
    walk: Walk,
    ball: Ball,
    point: Tensor,
    fools: Tensor,
    away: Tensor,
    probes: Tensor,
    left: Tensor,
) -> Walk:
    """Where the examples go from the answers to their queries."""
    x, zeros = walk.x, ops.zeros_like(walk.x)
    phases = (ops.equal(walk.phase, phase) for phase in range(4))
    trying, back, probing, stepping = phases
    root = ops.sqrt(ops.cast(ops.maximum(walk.t, 1), "float32"))
    error = ball.error(x, walk.far)

    # An estimate: the mean of the probes, each with the sign of its answer,
    # whose own mean is taken off. Of clipped probes what is left of them counts.
    sign = ops.where(fools, 1.0, -1.0)
    probe = ball.geometry.units(point - walk.now) / by_example(ball.beside(walk), x)
    probe = choose(probing, probe, zeros)
    ups, total = walk.ups + by_example(sign, x) * probe, walk.total + probe
    count = walk.count + ops.cast(probing, "float32")
    net = walk.net + ops.where(probing, sign, 0.0)
    ready = probing & ((count >= ops.floor(probes * root)) | (left <= RESERVE))
    mean = net / ops.maximum(count, 1.0)
    # Where all answers are the same they say nothing but a sign.
    mean = ops.where(ops.abs(mean) < 1, mean, 0.0)
    upwards = normalize(ups - by_example(mean, x) * total, ball.norm)

    # A step, halved until it fools.
    failed = stepping & ~fools
    size = ops.where(failed, walk.size / 2, walk.size)
    size = ops.where(ready, walk.far / root, size)
    lost = failed & (size <= error)

    # The way back, from a random image or the end of a step.
    start = fools & (trying | stepping)
    middle = _middle(walk, ball)
    near = ops.where(back & ~fools, middle, ops.where(start, 0.0, walk.near))
    far = ops.where(back & fools, middle, ops.where(start, away, walk.far))
    found = back & (far - near <= error)
    now = choose(start, point, walk.now)
    now = choose(found, ball.back(now, x, far), now)

    fresh = found | lost
    phase = ops.where(start, BACK, walk.phase)
    phase = ops.where(ready, STEP, ops.where(fresh, PROBE, phase))
    return walk._replace(
        now=now,
        ups=choose(fresh, zeros, choose(ready, upwards, ups)),
        total=choose(fresh, zeros, total),
        phase=phase,
        t=walk.t + ops.cast(fresh, "int32"),
        count=ops.where(fresh, 0.0, count),
        net=ops.where(fresh, 0.0, net),
        near=near,
        far=far,
        size=size,
    )

"""The geometry of the balls that an attack keeps in, within its bounds."""

from typing import Any

import numpy as np
from keras import ops

from keras_gce.attacks import ball
from keras_gce.checks import State, Tensor
from keras_gce.per_feature import Bounds, PerFeature, limits_of, span_of

__all__ = ["Geometry"]

# The deviation of a start of normal noise, a share of the range of the pixels.
NOISE = 1e-3


class Geometry:
    """Balls of a norm around images, within the bounds.

    Where features have radii of their own, `shares` of the greatest, a change is
    measured after each feature's was divided by its share: what is a ball then is an
    ellipsoid or a box, a step goes as far along it, and a feature whose share is 0 is
    left alone.

    Args:
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the greatest value of a pixel.
        shares: `None`: 1 for all features.

    Attributes:
        low: The least value of a pixel: a number, or a tensor that broadcasts to an
            image.
        high: The greatest.
        range: What lies between them.
        span: The widest range, a number.
        bounds: Both.
    """

    def __init__(self, norm: str, bounds: Bounds, shares: PerFeature | None = None):
        self.norm = norm
        low, high = limits_of(bounds)
        self.span = span_of(bounds)
        self.low, self.high = _tensor(low), _tensor(high)
        self.range = _tensor(high - low)
        self.bounds = (self.low, self.high)
        self._shares = self._inverse = None
        if shares is not None:
            share = shares.values.astype("float32")
            inverse = np.divide(1, share, out=np.zeros_like(share), where=share > 0)
            self._shares, self._inverse = _tensor(share), _tensor(inverse)

    def units(self, delta: Tensor) -> Tensor:
        """Returns a change with each feature's over its share; 0 where that is 0."""
        return delta if self._inverse is None else delta * self._inverse

    def change(self, units: Tensor) -> Tensor:
        """Returns the change of which `units` are those."""
        return units if self._shares is None else units * self._shares

    def free(self, units: Tensor) -> Tensor:
        """Returns `units` with 0 where features are left alone."""
        return (
            units if self._shares is None else ops.where(self._shares > 0, units, 0.0)
        )

    def pinned(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Returns `x_adv` with `x` itself where features are left alone."""
        return x_adv if self._shares is None else ops.where(self._shares > 0, x_adv, x)

    def limits(self, x: Tensor, eps: Tensor) -> State:
        """Returns the least and the greatest images of linf balls; () in other norms.

        What an attack asks once, to hand it to each `keep`.
        """
        if self.norm != "linf":
            return ()
        return ball.interval(x, self.change(eps), self.bounds)

    def keep(self, x_adv: Tensor, x: Tensor, eps: Tensor, limits: State = ()) -> Tensor:
        """Returns `x_adv` moved into the balls around `x`, and into the bounds.

        Args:
            x_adv: Images of shape `(N, ...)`.
            x: Those in the middle of the balls, within the bounds.
            eps: Radius of the balls; or radii, of shape `(N, 1, ...)`.
            limits: What `limits` has returned, if it was asked.
        """
        if self.norm == "linf":
            return ops.clip(x_adv, *(limits or self.limits(x, eps)))
        x_adv = self.pinned(x_adv, x)
        scales = () if self._shares is None else (self.units, self.change)
        return ball.project(x_adv, x, eps, self.bounds, self.norm, *scales)

    def length(self, delta: Tensor) -> Tensor:
        """Returns how long each image's change is, of shape `(N, 1, ...)`."""
        return ball.length(self.units(delta), self.norm)

    def steepness(self, gradient: Tensor) -> Tensor:
        """Returns how much a change of length 1 brings at most, as `length`."""
        return ball.length(self.change(gradient), ball.DUAL[self.norm])

    def direction(self, gradient: Tensor) -> Tensor:
        """Returns the steepest change of length 1, in linf and l2; see `normalize`."""
        if self._shares is None:
            return ball.normalize(gradient, self.norm)
        return self.change(ball.normalize(self.change(gradient), self.norm))

    def sparse(self, gradient: Tensor, count: Tensor) -> Tensor:
        """Returns a change of few features, of length 1 in l1; see `ball.sparse`."""
        return self.change(ball.sparse(self.change(gradient), count))

    def random_direction(self, x: Tensor, seed: ball.TensorSeed) -> Tensor:
        """Returns a random change of length 1 for each of the images `x`."""
        units = ball.random_direction(x, self.norm, seed)
        if self._shares is None:
            return units
        # Of the free features alone: what falls on others would be lost.
        units = self.free(units)
        return self.change(units / ops.maximum(ball.length(units, self.norm), 1e-30))

    def random_point(self, x: Tensor, eps: Tensor, seed: ball.TensorSeed) -> Tensor:
        """Returns points drawn uniformly from the balls around the images `x`."""
        if self._shares is None or self.norm == "linf":
            return ball.random_point(x, self.change(eps), self.norm, seed)
        direction = self.random_direction(x, seed)
        free = ops.sum(ops.cast(self._shares > 0, "float32") * ops.ones_like(x[:1]))
        return x + direction * ball.random_radius(x, free, seed) * eps

    def noisy(self, x: Tensor, seed: ball.TensorSeed) -> Tensor:
        """Returns the images `x` with a little normal noise.

        It is not cut at the bounds, where half of it would be lost: an attack's first
        step is cut. An attack that may return its start cuts that.
        """
        return x + NOISE * self.change(self.range * seed.normal(ops.shape(x)))


def _tensor(value: Any) -> Any:
    # A number stays one: compiled code is the same then as without arrays.
    return ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value

"""Settings that may be one number for an image, or an array that broadcasts to it."""

import functools
import hashlib
import math
import numbers
from typing import Any, TypeAlias

import numpy as np

from keras_gce.checks import as_array, check_number, shown
from keras_gce.errors import InputError

__all__ = [
    "Bounds",
    "Eps",
    "PerFeature",
    "check_bounds",
    "check_radius",
    "covered",
    "limits_of",
    "plain",
    "resized",
    "shares_of",
    "span_of",
]


@functools.total_ordering
class PerFeature:
    """Numbers that broadcast to an image, as a setting: immutable, shown short.

    Two are equal where their numbers are. In order, as a truth value, as text and as a
    `float` it is its greatest number; multiplied or divided by a number it is another
    one.

    Args:
        values: Array of finite numbers, of one dimension at least.
    """

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, "float64")
        self.values.flags.writeable = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return self.values.shape

    def __float__(self) -> float:
        return float(self.values.max())

    def __bool__(self) -> bool:
        return float(self) != 0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values.astype(dtype or self.values.dtype)

    def __mul__(self, factor: float) -> "PerFeature":
        return PerFeature(self.values * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "PerFeature":
        return PerFeature(self.values / divisor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PerFeature) and self._key == other._key

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        digest = hashlib.sha256(repr(self._key).encode()).hexdigest()[:8]
        least, most = self.values.min(), self.values.max()
        return f"array(shape={self.shape}, {least:g} to {most:g}, {digest})"

    def __format__(self, spec: str) -> str:
        return f"{format(float(self), spec)} by feature" if spec else repr(self)

    @functools.cached_property
    def _key(self) -> tuple[tuple[int, ...], bytes]:
        return self.shape, self.values.tobytes()


# Numbers, or what broadcasts to an image: any array is given, and held as `PerFeature`.
Eps: TypeAlias = Any
Bounds: TypeAlias = tuple[Any, Any]


def check_radius(value: Any) -> Eps:
    """Returns `eps` as an attack holds it, or says what is wrong with it."""
    array = _array(value)
    if array is None:
        check_number("eps", value, least=0)
        return value
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InputError(
            "`eps` must be a finite number >= 0, or an array of such numbers that "
            f"broadcasts to an image. Received: eps of shape {array.shape}, from "
            f"{array.min():g} to {array.max():g}"
        )
    return PerFeature(array)


def check_bounds(bounds: Any) -> Bounds:
    """Returns `bounds` as an attack holds them, or says what is wrong with them."""
    received = bounds
    try:
        low, high = (_bound(bound) for bound in bounds)
        ordered = bool(np.all(np.asarray(low) < np.asarray(high)))
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise InputError(
            "`bounds` must be two finite numbers, the lower one first, or two arrays "
            "of such numbers that broadcast to an image. "
            f"Received: bounds={shown(received)}"
        )
    return low, high


def limits_of(bounds: Bounds) -> tuple[Any, Any]:
    """Returns bounds as what NumPy and Keras calculate with: floats, or arrays."""
    low, high = (
        bound.values.astype("float32") if isinstance(bound, PerFeature) else bound
        for bound in bounds
    )
    return low, high


def covered(eps: Eps, bounds: Bounds) -> float:
    """Returns what share of half its range each feature may change, the least of them.

    From 1 on any two images can be made the same in linf.
    """
    low, high = limits_of(bounds)
    return float(np.min(2 * np.asarray(eps) / (np.asarray(high) - np.asarray(low))))


def plain(value: Any) -> Any:
    """Returns a setting as what Keras serializes."""
    if isinstance(value, tuple):
        return tuple(plain(one) for one in value)
    return value.values if isinstance(value, PerFeature) else value


def span_of(bounds: Bounds) -> float:
    """Returns how far the bounds of a feature lie apart at most."""
    low, high = limits_of(bounds)
    return float(np.max(high - low))


def shares_of(eps: Eps) -> PerFeature | None:
    """Returns each number over the greatest one; `None` where all are the same.

    Rounded down, so that in float32 a share of the greatest is never above the number,
    whatever the greatest is: multiples of `eps` have the same shares.
    """
    if not isinstance(eps, PerFeature) or not eps:
        return None
    shares = (eps.values / float(eps)).astype("float32")
    return PerFeature(np.where(shares < 1, shares * np.float32(1 - 2**-21), shares))


def resized(eps: Eps, radius: float) -> Eps:
    """Returns `eps` with another greatest number, the others in proportion."""
    if isinstance(eps, PerFeature):
        return eps * (radius / float(eps)) if eps else eps
    return radius


def _array(value: Any) -> np.ndarray | None:
    """Numbers in an array of one dimension at least, or `None`."""
    if isinstance(value, (numbers.Number, str, bytes, type(None))):
        return None
    array = value.values if isinstance(value, PerFeature) else as_array(value)
    if array.ndim == 0 or not array.size or array.dtype.kind not in "fiu":
        return None
    return array.astype("float64")


def _bound(value: Any) -> float | PerFeature:
    array = _array(value)
    if array is None:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    if not np.isfinite(array).all():
        raise ValueError
    return PerFeature(array)

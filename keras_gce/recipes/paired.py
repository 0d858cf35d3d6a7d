"""Two losses seed by seed: the difference, and what so few seeds leave open."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Paired", "t_quantile"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired:
    """Differences of two measurements, one for each seed.

    Example:

    >>> found = Paired.of([80.0, 82.0, 81.0], [81.0, 82.5, 82.5])
    >>> found.mean, [round(end, 2) for end in found.interval], found.wins
    (1.0, [-0.24, 2.24], 3)

    Args:
        differences: The second measurement minus the first, seed by seed.
    """

    differences: tuple[float, ...]

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float]) -> "Paired":
        """Returns those of two lists, in the order of the seeds."""
        pairs = zip(first, second, strict=True)
        return cls(differences=tuple(float(b - a) for a, b in pairs))

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(self.differences))

    @property
    def deviation(self) -> float | None:
        """Their standard deviation; one seed has none."""
        if len(self.differences) < 2:
            return None
        return float(np.std(self.differences, ddof=1))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95% interval of the mean; one seed has none."""
        if self.deviation is None:
            return None
        seeds = len(self.differences)
        half = t_quantile(seeds - 1) * self.deviation / math.sqrt(seeds)
        return self.mean - half, self.mean + half

    @property
    def effect(self) -> float | None:
        """The mean in standard deviations (Cohen's d of pairs); `None` without any."""
        return self.mean / self.deviation if self.deviation else None

    @property
    def wins(self) -> int:
        """The number of seeds in which the second is ahead."""
        return sum(difference > 0 for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, as JSON has it."""
        return {
            "differences": list(self.differences),
            "mean": self.mean,
            "deviation": self.deviation,
            "interval": None if self.interval is None else list(self.interval),
            "effect": self.effect,
            "wins": self.wins,
        }


def t_quantile(freedom: int, share: float = 0.95) -> float:
    """Returns the t with P(|T| < t) = share, of Student's distribution.

    Example:

    >>> round(t_quantile(4), 3)
    2.776

    Args:
        freedom: Degrees of freedom, an integer >= 1.
        share: In (0, 1). Defaults to 0.95.

    Reference:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4:
        the distribution as a finite sum, in theta = arctan(t / sqrt(freedom)).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _within(theta: float, freedom: int) -> float:
    """P(|T| < sqrt(freedom) tan(theta))."""
    odd = freedom % 2
    term, total = math.cos(theta) if odd else 1.0, 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(theta) ** 2 * k / (k + 1)
    sine = math.sin(theta)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total

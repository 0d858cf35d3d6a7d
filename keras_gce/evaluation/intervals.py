"""Intervals and tests for shares of examples."""

import math
import statistics

from keras_gce.errors import InputError

__all__ = ["mcnemar", "wilson_interval"]


def wilson_interval(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Returns Wilson's score interval for a share.

    Example:

    >>> low, high = wilson_interval(0.5, 100)
    >>> f"{low:.3f} to {high:.3f}"
    '0.404 to 0.596'

    Args:
        share: Share that was observed, in [0, 1].
        n: Number of observations, >= 1.
        level: Confidence, in (0, 1). Defaults to 0.95.

    Returns:
        The least and the greatest share.

    Raises:
        InputError: If `level` is not as described.

    Reference:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        JASA 1927.
    """
    if not 0 < level < 1:
        raise InputError(f"`level` must lie in (0, 1). Received: level={level}")
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    middle = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
    # The ends may miss 0 and 1 by a rounding.
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def mcnemar(only_a: int, only_b: int) -> float:
    """Returns the p-value of the exact two-sided McNemar test.

    Example:

    >>> mcnemar(0, 5)
    0.0625

    Args:
        only_a: Number of examples on which a alone is right.
        only_b: Number of examples on which b alone is right.

    Returns:
        Probability of so uneven a pair of numbers, or a more uneven one, if either is
        as likely to be right alone.

    Reference:
        McNemar, "Note on the Sampling Error of the Difference Between Correlated
        Proportions or Percentages", Psychometrika 1947.
    """
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    # A quotient of integers is exact however large they are.
    return min(1.0, 2 * tail / 2**n)

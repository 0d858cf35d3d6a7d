"""Which examples a part of an evaluation has."""

import numbers
from typing import Any

import numpy as np

from keras_gce.errors import InputError

__all__ = ["places_of"]


def places_of(part: Any, count: int, batch_size: int) -> np.ndarray | slice:
    """Returns the places of a part's examples: of every n-th stretch of them.

    Example:

    >>> places_of((2, 3), 10, 2)
    array([2, 3, 8, 9])

    Args:
        part: (i, n) for the i-th of n parts, or `None` for all of it.
        count: Number of examples of the whole test set.
        batch_size: How many places a stretch has, the last one perhaps fewer.

    Returns:
        Integers of shape `(N,)`, or the slice of all.

    Raises:
        InputError: If `part` is not as described, or some of the parts are empty.
    """
    if part is None:
        return slice(None)
    pair = tuple(part) if isinstance(part, (tuple, list)) else ()
    whole = all(
        isinstance(one, numbers.Integral) and not isinstance(one, bool) for one in pair
    )
    if len(pair) != 2 or not whole or not 1 <= pair[0] <= pair[1]:
        raise InputError(
            "`part` must be two integers (i, n), the i-th of n parts, 1 <= i <= n. "
            f"Received: part={part!r}"
        )
    number, of = (int(one) for one in pair)
    stretches = -(-count // batch_size)
    if of > stretches:
        raise InputError(
            f"`part` must be (i, n) with n <= {stretches}, since {count} images make "
            f"{stretches} batches of {batch_size}. Received: part={part!r}; a smaller "
            "batch_size makes more"
        )
    places = np.arange(count)
    return places[places // batch_size % of == number - 1]

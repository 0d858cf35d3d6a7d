"""Loops that decided examples leave, under JAX, whose programs are of fixed shapes.

A function that calls `while_active` is compiled in parts: what comes before a loop, a
stretch of its steps, and what comes after. The loop itself runs from the host, which
looks between two stretches at how many examples are left, and gathers them into a
smaller batch when they are few. Each part is traced from the whole function, in which
`while_active` then stands for the part's beginning or end; XLA drops the rest.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state

from keras_gce.backend.jax_draws import in_round
from keras_gce.checks import State, Tensor

__all__ = ["Compiled", "while_active"]

# Steps between two looks at what is left.
STRETCH = 10
# A loop runs in the size of the greatest batch, in a half of that, or in an eighth.
PARTS = (1, 2, 8)
# With fewer steps to come a loop is over before another size of it is compiled.
WORTH = 20


class _Part:
    """What the loops stand for while one part of a function is traced.

    Args:
        ended: Tuple of the results of the loops that lie before this part.
        carry: The next loop's state at the beginning of a stretch; `None`: the part
            lies outside of loops.
        stop: The number of the step before which the stretch ends; `None`: it is one
            step.

    Attributes:
        found: What the part returns: a loop's state; `None`: the function's results.
    """

    def __init__(self, ended: State, carry: Any = None, stop: Any = None) -> None:
        self._ended, self._carry, self._stop = ended, carry, stop
        self._level = get_opaque_trace_state()
        self._met = 0
        self.found: Any = None

    def is_outermost(self) -> bool:
        """Returns whether this is no loop in another loop of the function."""
        return bool(get_opaque_trace_state() == self._level)

    def loop(
        self, body: Callable[[State], State], carry: State, num_steps: Tensor
    ) -> State:
        """Stands for a loop, whose results are returned."""
        number = self._met
        self._met += 1
        if number < len(self._ended):
            return self._ended[number]
        if number == len(self._ended):
            if self._carry is None:
                self.found = carry, num_steps
            elif self._stop is None:
                self.found = _strong(body(self._carry))
            else:
                self.found = _while(body, self._carry, self._stop)
        return carry[2]


_PART: ContextVar[_Part | None] = ContextVar("_PART", default=None)


def while_active(
    step: Callable[[Tensor, State], tuple[State, Tensor]],
    state: State,
    num_steps: Tensor,
    num_results: int = 1,
) -> State:
    """Repeats a step until all examples are done; results are kept from then on.

    The arguments and results are those of the TensorFlow seam's. In a function of
    `run_compiled` the examples that are done leave when few are left. In a loop within
    a loop, or in a train step, they run along until the last one is done.
    """

    def body(carry: State) -> State:
        i, active, results, state = carry
        with in_round(i):
            state, done = step(i, state)
        results = tuple(
            jnp.where(active.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)
            for new, old in zip(state, results, strict=False)
        )
        return i + 1, active & ~done, results, state

    state = _strong(tuple(jnp.asarray(value) for value in state))
    active = jnp.ones(len(state[0]), bool)
    carry = (jnp.int32(0), active, state[:num_results], state)
    part = _PART.get()
    if part is not None and part.is_outermost():
        return part.loop(body, carry, num_steps)
    return _while(body, carry, num_steps)[2]


def _while(body: Callable[[State], State], carry: State, stop: Tensor) -> State:
    return jax.lax.while_loop(
        lambda carry: (carry[0] < stop) & carry[1].any(), body, carry
    )


def _strong(values: State) -> State:
    # Of the same types whatever they were computed from, so that nothing is compiled
    # once for a loop's beginning and once for its steps.
    return jax.tree.map(lambda v: jax.lax.convert_element_type(v, v.dtype), values)


class Compiled:
    """A function compiled for the batches that it is called with, in few sizes.

    Batches are filled up with copies of their last example, to the size of the greatest
    one or, as they are smaller, to one of a few parts of it.

    Args:
        fn: Callable `(weights, batch, settings)` that returns tensors with the examples
            along the first axis.

    Attributes:
        draws: Whether its model draws random numbers, as `fn` has found.
    """

    def __init__(self, fn: Callable[[Any, State, Any], Any]) -> None:
        def traced(part: _Part, *arguments: Any) -> tuple[Any, Any]:
            token = _PART.set(part)
            try:
                results = fn(*arguments)
            finally:
                _PART.reset(token)
            return (part.found, None) if part.found is not None else (None, results)

        def outside(weights: Any, batch: State, settings: Any, ended: State) -> Any:
            return traced(_Part(ended), weights, batch, settings)

        def stretch(
            weights: Any,
            batch: State,
            settings: Any,
            ended: State,
            carry: Any,
            stop: Any,
        ) -> Any:
            return traced(_Part(ended, carry, stop), weights, batch, settings)[0]

        self._outside, self._stretch = jax.jit(outside), jax.jit(stretch)
        self.draws = False
        self._most = 0
        self._has_loops = False

    @property
    def count(self) -> int:
        """Number of programs compiled: of the parts, in all sizes."""
        return int(self._outside._cache_size() + self._stretch._cache_size())

    def __call__(self, weights: Any, batch: State, settings: Any) -> Any:
        """Runs it on a batch of arrays."""
        n = len(batch[0])
        batch = tuple(_filled(np.asarray(value), self._size(n)) for value in batch)
        batch = tuple(map(jnp.asarray, batch))
        ended: State = ()
        while True:
            loop, results = self._outside(weights, batch, settings, ended)
            if loop is None:
                return jax.tree.map(lambda value: _first(value, n), results)
            self._has_loops = True
            carry, num_steps = loop
            examples = weights, batch, settings, ended
            ended += (self._loop(examples, carry, num_steps, n),)

    def _size(self, n: int) -> int:
        """Returns the size that a batch is filled up to."""
        if n > self._most:
            # The first one as it is. Later ones of other sizes may be many.
            eighth = (1 << (n - 1).bit_length()) // 8 if self._most else 0
            self._most = -(-n // eighth) * eighth if eighth else n
        # What has no loop is called with what loops have left, in ever fewer examples.
        halves = tuple(1 << k for k in range(self._most.bit_length()))
        parts = PARTS if self._has_loops else halves
        sizes = [-(-self._most // part) for part in parts]
        return min(size for size in sizes if size >= n) if n else 0

    def _loop(self, examples: Any, carry: State, num_steps: Tensor, n: int) -> State:
        """Runs a loop on the first n examples; returns its results."""
        weights, batch, settings, ended = examples
        i, end, length = 0, int(num_steps), _length(weights)
        size = len(carry[1])
        # Where in the results each row of the batch belongs; a copy belongs nowhere.
        where = np.where(np.arange(size) < n, np.arange(size), size)
        kept = carry[2]
        carry = carry[0], jnp.asarray(where < size), *carry[2:]
        left = np.arange(n)
        while i < end and len(left):
            smaller = self._size(len(left))
            if smaller < len(where) and end - i >= WORTH:
                kept = _scattered(kept, where, carry[2])
                rows = _filled(left, smaller)
                where = np.where(np.arange(smaller) < len(left), where[rows], size)
                batch, ended = _gathered((batch, ended), rows)
                carry = carry[0], *_gathered(carry[1:], rows)
                carry = carry[0], jnp.asarray(where < size), *carry[2:]
            i = min(i + length, end)
            stop = None if length == 1 else np.int32(i)
            carry = self._stretch(weights, batch, settings, ended, carry, stop)
            left = np.flatnonzero(np.asarray(carry[1]))
        results: State = carry[2]
        return results if len(where) == size else _scattered(kept, where, results)


def _length(weights: list[Tensor]) -> int:
    """Returns how many steps a stretch has."""
    # On the CPU a convolution's gradient is several times slower in a loop of
    # XLA's, whatever its length, than outside of one.
    convolves = any(weight.ndim > 2 for weight in weights)
    return 1 if convolves and jax.default_backend() == "cpu" else STRETCH


# On the host, since JAX would compile such things once for each number of examples.


def _filled(value: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(value)
    if missing <= 0:
        return value
    return np.concatenate([value, np.repeat(value[-1:], missing, axis=0)])


def _first(value: Tensor, n: int) -> Tensor:
    return value if len(value) == n else jnp.asarray(np.asarray(value)[:n])


def _gathered(values: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda value: jnp.asarray(np.asarray(value)[rows]), values)


def _scattered(values: State, where: np.ndarray, new: State) -> State:
    """Returns `values` with the rows of `new` put where they belong."""
    results = []
    for value, rows in zip(values, new, strict=True):
        result = np.array(value)
        belong = where < len(result)
        result[where[belong]] = np.asarray(rows)[belong]
        results.append(jnp.asarray(result))
    return tuple(results)

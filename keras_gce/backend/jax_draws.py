"""The random numbers of a model under JAX, whose programs change no state.

A `SeedGenerator` of Keras moves its state on at each draw. In a compiled loop, whose
body is traced once, it would draw the same numbers in each round, and the state of one
round would be read outside of the loop. So each pass of the model begins with a state
of its own: that of the program's beginning, which pass of the program it is, and the
numbers of the rounds of the loops around it.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import keras

from keras_gce.checks import State, Tensor

__all__ = ["Draws", "in_round", "own_draws", "seeds_of", "while_loop"]


class Draws:
    """What one program knows of its random numbers while it is traced.

    Args:
        scope: The `keras.StatelessScope` that holds the variables.

    Attributes:
        any: Whether the model has drawn numbers.
    """

    def __init__(self, scope: keras.StatelessScope) -> None:
        self.scope = scope
        self.any = False
        self._passes = 0

    def __enter__(self) -> "Draws":
        self._before = _DRAWS.set(self)
        self.scope.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.scope.__exit__(*args)
        _DRAWS.reset(self._before)

    @contextlib.contextmanager
    def own(self, model: keras.Model) -> Iterator[None]:
        """A scope in which the model begins with a state of this pass."""
        self._passes += 1
        states = []
        for variable in seeds_of(model):
            state = self.scope.get_current_value(variable)
            fresh = state
            for number in (self._passes, *_ROUNDS.get()):
                fresh = jax.random.fold_in(fresh, number)
            self.scope.add_update((variable, fresh))
            states.append((variable, state, fresh))
        try:
            yield
        finally:
            for variable, state, fresh in states:
                if self.scope.get_current_value(variable) is not fresh:
                    self.any = True
                self.scope.add_update((variable, state))


_DRAWS: ContextVar[Draws | None] = ContextVar("_DRAWS", default=None)
_ROUNDS: ContextVar[tuple[Tensor, ...]] = ContextVar("_ROUNDS", default=())


def seeds_of(model: keras.Model) -> list[keras.Variable]:
    """Returns the states of a model's generators of random numbers."""
    # So Keras names them; it has no list of them.
    return [v for v in model.variables if "seed_generator_state" in v.path]


def own_draws(model: keras.Model) -> contextlib.AbstractContextManager[None]:
    """Returns a scope for one pass; see the TensorFlow seam's."""
    draws = _DRAWS.get()
    return contextlib.nullcontext() if draws is None else draws.own(model)


@contextlib.contextmanager
def in_round(i: Tensor) -> Iterator[None]:
    """A scope for the body of a loop, whose round has the number `i`."""
    before = _ROUNDS.set((*_ROUNDS.get(), i))
    # Or the number of a round that has failed would be left to the next program.
    try:
        yield
    finally:
        _ROUNDS.reset(before)


def while_loop(
    cond: Callable[..., Tensor], body: Callable[..., State], state: State
) -> State:
    """Repeats `body`; the arguments and results are those of the TensorFlow seam's."""

    def numbered(i: Tensor, *rest: Tensor) -> State:
        with in_round(i):
            return body(i, *rest)

    results: State = keras.ops.while_loop(cond, numbered, state)
    return results

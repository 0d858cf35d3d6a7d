"""How far work in pieces is: what the workers say, and what that comes to."""

from collections.abc import Sequence
from typing import Any

__all__ = ["TRIES", "Account", "Board"]

# How often a piece of work is begun at most.
TRIES = 3
# Seconds until a look at the board is given up.
PATIENCE = 5.0


class Board:
    """An actor: what workers say of their pieces."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.told: dict[str, tuple[float, float]] = {}

    def begin(self, name: str) -> None:
        """A worker begins with a piece."""
        self.begun[name] = self.begun.get(name, 0) + 1

    def tell(self, name: str, made: float, left: float) -> None:
        """A worker says how far it is."""
        self.told[name] = made, left

    def look(self) -> tuple[dict[str, int], dict[str, tuple[float, float]]]:
        """Returns how often each piece was begun, and what was last said of each."""
        return self.begun, self.told


class Account:
    """How far all pieces are together, in the measure of each one's bar."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.begun: dict[str, int] = {}
        self.told: dict[str, tuple[float, float]] = {}
        self.over: set[str] = set()
        self.before = 0.0

    def look(self, ray: Any, board: Any) -> list[str]:
        """Reads the board; lines on what was begun again."""
        try:
            begun, told = ray.get(board.look.remote(), timeout=PATIENCE)
        except Exception:  # It is being started again: nothing depends on it.
            return []
        again = [
            f"{name} is begun again, try {count} of {TRIES}"
            for name, count in begun.items()
            if count > max(1, self.begun.get(name, 0)) and name not in self.over
        ]
        self.begun = begun
        self.told |= {n: pair for n, pair in told.items() if n not in self.over}
        return again

    def finish(self, name: str) -> None:
        """A piece is done."""
        self.over.add(name)
        self.told[name] = sum(self.told.get(name, (1.0, 0.0))), 0.0

    def step(self) -> float:
        """How much was made since the last time."""
        made = sum(made for made, _ in self.told.values())
        step, self.before = made - self.before, made
        return step

    @property
    def left(self) -> float | None:
        """How much there is to do; what has not begun is as the others are."""
        if not self.told:
            return None
        known = list(self.told.values())
        mean = sum(made + left for made, left in known) / len(known)
        waiting = len(self.names) - len(known)
        return sum(left for _, left in known) + waiting * mean

"""How far work in pieces is: what the workers say, and what that comes to."""

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
        self.shares: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """A worker begins with a piece."""
        self.begun[name] = self.begun.get(name, 0) + 1

    def tell(self, name: str, share: float) -> None:
        """A worker says how far it is, from 0 to 1."""
        self.shares[name] = share

    def look(self) -> tuple[dict[str, int], dict[str, float]]:
        """Returns how often each piece was begun, and how far it is."""
        return self.begun, self.shares


class Account:
    """How far all pieces are together: each counts as 1."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.shares: dict[str, float] = {}
        self.over: set[str] = set()
        self.before = 0.0

    def look(self, ray: Any, board: Any) -> list[str]:
        """Reads the board; lines on what was begun again."""
        try:
            begun, shares = ray.get(board.look.remote(), timeout=PATIENCE)
        except Exception:  # It is being started again: nothing depends on it.
            return []
        again = [
            f"{name} is begun again, try {count} of {TRIES}"
            for name, count in begun.items()
            if count > max(1, self.begun.get(name, 0)) and name not in self.over
        ]
        self.begun = begun
        self.shares |= {n: one for n, one in shares.items() if n not in self.over}
        return again

    def finish(self, name: str) -> None:
        """A piece is done."""
        self.over.add(name)
        self.shares[name] = 1.0

    def step(self) -> float:
        """How much was made since the last time; less than 0 where one began again."""
        made = sum(self.shares.values())
        step, self.before = made - self.before, made
        return step

"""What is said on stderr while the work goes on: bars, and lines that stay.

On a terminal there is a bar; in a notebook a line that changes; elsewhere, as in a
log, a line each minute.
"""

import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TextIO, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Advance", "aside", "bar", "heard_by", "quiet", "say"]

# Seconds between two lines in a log, and between two looks of a notebook's line.
LOG_EVERY, NOTEBOOK_EVERY = 60.0, 1.0

# The time that is left is estimated after this share of the work, or so many seconds.
SHARE, SECONDS = 0.03, 60.0

_QUIET = ContextVar("keras_gce.progress", default=False)
# Function of what is done and what is left, in place of what is shown.
Listener: TypeAlias = Callable[[float, float], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("keras_gce.listener", default=None)


class Advance(Protocol):
    """What moves a bar on."""

    def __call__(
        self, amount: float, description: str, counted: str, left: float | None = None
    ) -> None:
        """Says that more is done.

        Args:
            amount: By how much, in the measure of the bar's total.
            description: What is being done.
            counted: How far that is in the user's units, such as "1200/4000 images".
            left: How much there is still to do. Defaults to `None`: what was left
                before, less `amount`.
        """


@contextlib.contextmanager
def quiet(silent: bool = True) -> Iterator[None]:
    """Inside there are neither bars nor lines.

    Args:
        silent: Whether that is so. Defaults to `True`.
    """
    before = _QUIET.set(silent or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(before)


@contextlib.contextmanager
def heard_by(listen: Listener) -> Iterator[None]:
    """Inside, bars show nothing and tell a function how far they are.

    Args:
        listen: Function of what is done and what is left, in a bar's measure; bars
            that know no total are not told.
    """
    before = _LISTENER.set(listen)
    try:
        with quiet():
            yield
    finally:
        _LISTENER.reset(before)


@contextlib.contextmanager
def bar(
    description: str, total: float | None = None, show: bool = True, done: float = 0
) -> Iterator[Advance]:
    """Yields a function that says on stderr how far the work is.

    How long is left is estimated, and all is gone at the end.

    Args:
        description: What is being done first.
        total: How much there is to do, in any measure that takes the same time
            throughout. Defaults to `None`: nobody knows.
        show: Whether anything is said at all. Defaults to `True`.
        done: How much of it was done before. Defaults to 0.
    """
    work, listen = _Work(description, total, done), _LISTENER.get()
    if not show or _QUIET.get():

        def silent(
            amount: float, description: str, counted: str, left: float | None = None
        ) -> None:
            work.advance(amount, description, counted, left)
            if listen is not None and work.total is not None:
                listen(work.done, work.total - work.done)

        yield silent
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        display = _in_notebook(work)
    # Not what Rich takes for one: FORCE_COLOR makes no terminal of a log.
    elif _is_terminal() and not console.is_dumb_terminal:
        display = _on_terminal(work, console)
    else:
        display = _repeat(LOG_EVERY, lambda: say(work.line))
    with display as refresh:

        def advance(
            amount: float, description: str, counted: str, left: float | None = None
        ) -> None:
            work.advance(amount, description, counted, left)
            refresh()

        yield advance


def say(text: str, show: bool = True) -> None:
    """Writes a line on stderr, which stays.

    Args:
        text: The line.
        show: Whether there is one at all. Defaults to `True`.
    """
    # As it is, however narrow the terminal; nobody may be there to read it.
    if show and not _QUIET.get() and sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, what another library prints on stdout is said on stderr, or not at all.

    So stdout holds the result alone.
    """
    with contextlib.ExitStack() as stack:
        to: TextIO | None = sys.stderr
        if to is None or _QUIET.get():
            to = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(to))
        yield


class _Work:
    """How far the work is, and when it will be done."""

    def __init__(self, description: str, total: float | None, done: float) -> None:
        self.description, self.counted = description, ""
        self.total, self.done, self.before = total, done, done
        self.start = self.last = time.monotonic()

    def advance(
        self, amount: float, description: str, counted: str, left: float | None
    ) -> None:
        self.done += amount
        if left is not None:
            self.total = self.done + left
        self.description, self.counted = description, counted
        self.last = time.monotonic()

    @property
    def left(self) -> float | None:
        """Seconds until the end, falling between two steps; `None`: unknown."""
        made, taken = self.done - self.before, self.last - self.start
        # What comes first is mostly compilation.
        soon = made < SHARE * (self.total or 0) and taken < SECONDS
        if not self.total or made <= 0 or soon:
            return None
        seconds = taken * (self.total - self.done) / made
        seconds -= time.monotonic() - self.last
        return seconds if seconds > 0 else None  # What is overdue was wrong.

    @property
    def state(self) -> str:
        """How far it is, as text."""
        share = f"{self.done / self.total:.0%}" if self.total else ""
        if self.left is None:
            clock = f"{_clock(time.monotonic() - self.start)} so far"
        else:
            clock = f"{_clock(self.left)} left"
        return ", ".join(part for part in (self.counted, share, clock) if part)

    @property
    def line(self) -> str:
        """All of it as text."""
        return f"{self.description}: {self.state}"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


@contextlib.contextmanager
def _repeat(every: float, write: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Writes again and again, in a thread: between two steps minutes may lie."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every):
            with contextlib.suppress(OSError):
                write()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield lambda: None
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _in_notebook(work: _Work) -> Iterator[Callable[[], None]]:
    from IPython.display import display

    # Rich asks for ipywidgets here, and displays what a browser may not know.
    shown = display({"text/plain": work.line}, raw=True, display_id=True)

    def write() -> None:
        shown.update({"text/plain": work.line}, raw=True)

    try:
        with _repeat(NOTEBOOK_EVERY, write):
            yield write
    finally:
        shown.update({"text/plain": ""}, raw=True)


@contextlib.contextmanager
def _on_terminal(work: _Work, console: "Console") -> Iterator[Callable[[], None]]:
    from rich import progress

    with progress.Progress(
        progress.TextColumn("{task.fields[work].description}", markup=False),
        progress.BarColumn(bar_width=20),
        progress.TextColumn("{task.fields[work].state}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,  # Else what is printed meanwhile would go to stderr.
    ) as bars:
        task = bars.add_task("", total=work.total, work=work)
        bars.update(task, completed=work.done)
        yield lambda: bars.update(task, completed=work.done, total=work.total)

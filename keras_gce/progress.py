"""What is said on stderr while the work goes on: bars, and lines that stay."""

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["bar", "say"]


@contextlib.contextmanager
def bar(
    description: str, total: int, show: bool = True, done: int = 0
) -> Iterator[Callable[[int, str], None]]:
    """Yields a function `(count, description)` that moves a bar on stderr on.

    The bar estimates the time that is left, and is gone when it is done.

    Args:
        description: What is being done.
        total: How much there is to do.
        show: Whether there is a bar at all. Defaults to `True`.
        done: How much of it was done before. Defaults to 0.
    """
    if not show:
        yield lambda count, description: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(description, total=total, completed=done)
        yield lambda count, description: bars.update(
            task, advance=count, description=description
        )


def say(text: str, show: bool = True) -> None:
    """Writes a line on stderr, which stays.

    Args:
        text: The line.
        show: Whether there is one at all. Defaults to `True`.
    """
    if not show:
        return
    from rich.console import Console

    # As it is: neither markup nor colours, and one line however narrow the terminal.
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)

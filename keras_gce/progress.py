"""A progress bar with an estimate of the time left."""

import contextlib

__all__ = ["bar"]


@contextlib.contextmanager
def bar(description, total, show=True, done=0):
    """Yields a function `(count, description)` that moves a bar on stderr on.

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

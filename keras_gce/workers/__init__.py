"""Work in pieces on the workers of a Ray cluster: this machine's own, or one there is.

A worker is a process with a Keras backend of its own, on a device of its own. Nothing
here imports Keras, so that what only keeps count starts at once.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keras_gce import __version__
from keras_gce.errors import InputError, WorkError, one_line
from keras_gce.progress import bar, heard_by, say
from keras_gce.workers.account import TRIES, Account, Board
from keras_gce.workers.cluster import (
    SHARING,
    check_workers,
    code_of_own,
    environment,
    joined,
    keras_settings,
    pickler,
    room_for,
)

__all__ = ["SHARING", "check_workers", "code_of_own", "pickler", "spread"]

# Seconds between two looks at what is done, and between two words from a worker.
EVERY = 1.0


def spread(
    function: Callable[..., Any],
    shared: Sequence[Any],
    pieces: Mapping[str, Sequence[Any]],
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Iterator[tuple[str, Any]]:
    """Calls a function on each piece of some work, and yields what comes as it comes.

    A piece whose worker dies, or that fails, is begun again, `TRIES` times at most;
    what is wrong with the user's input is not tried again. Where one fails for good,
    those that are running are finished, and no other one is begun.

    Args:
        function: Function `(*shared, *piece)`.
        shared: What it gets each time: sent once to each machine, arrays without a copy
            for each worker. They can't be written there.
        pieces: Dict of a piece's name -> its own arguments.
        workers: How many are worked on at once. Defaults to `None`: one for each GPU,
            or, where there is none, for each core.
        address: That of a Ray cluster to join. Defaults to `None`: that to which this
            process is connected already, or this machine alone, where Ray is started
            and stopped.
        progress: Whether a bar on stderr says how far all of it is. Defaults to `True`.

    Yields:
        (name, what the function returned), each piece once, in the order in which they
        are done.

    Raises:
        InputError: If an argument is not as described, no cluster is at the address, or
            the function raised one.
        WorkError: If a piece failed `TRIES` times.
    """
    check_workers(workers, address)
    with joined(address) as ray:
        resources, threads, at_once = room_for(ray, workers, progress)
        names = list(pieces)
        board = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        task = ray.remote(_begin).options(
            **resources,
            max_retries=TRIES - 1,
            retry_exceptions=True,
            runtime_env={"env_vars": environment(threads)},
        )
        # In one, so that what two of them have in common is there once.
        common = ray.put(tuple(shared))
        told = keras_settings(), __version__
        running: dict[Any, str] = {}
        waiting, done = list(names), 0
        failed: dict[str, str] = {}
        what = f"working on {at_once} worker{'s' * (at_once > 1)}"
        with contextlib.ExitStack() as stack:
            advance = stack.enter_context(bar(what, len(names), progress))
            stack.callback(lambda: [ray.cancel(one, force=True) for one in running])
            account = Account()
            while running or (waiting and not failed):
                while waiting and not failed and len(running) < at_once:
                    name = waiting.pop(0)
                    own = tuple(pieces[name])
                    one = task.remote(common, function, name, own, *told, board)
                    running[one] = name
                # Ray prints what it makes of a lost worker, on stdout.
                with open(os.devnull, "w") as no, contextlib.redirect_stdout(no):
                    ready, _ = ray.wait(list(running), timeout=EVERY)
                    lines = account.look(ray, board)
                for line in lines:
                    say(line, progress)
                for one in ready:
                    name = running.pop(one)
                    try:
                        result = ray.get(one)
                    except Exception as error:  # Of the function, or that it was lost.
                        failed[name] = _reason(error)
                        if running:
                            words = "what is running is finished, then this ends"
                            say(f"{name} failed: {failed[name]}; {words}", progress)
                        continue
                    if isinstance(result, InputError):
                        raise result
                    result, warned = result
                    for text in warned:
                        warnings.warn(f"{name}: {text}", stacklevel=2)
                    done += 1
                    account.finish(name)
                    yield name, result
                counted = f"{done}/{len(names)} parts"
                advance(account.step(), what, counted)
    if failed:
        listed = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise WorkError(f"failed {TRIES} times: {listed}")


def _reason(error: Exception) -> str:
    """What a task failed of, in one line."""
    cause = getattr(error, "cause", None)
    return one_line(cause if isinstance(cause, Exception) else error, 300)


def _begin(
    shared: Sequence[Any],
    function: Callable[..., Any],
    name: str,
    own: Sequence[Any],
    settings: dict[str, str],
    version: str,
    board: Any,
) -> Any:
    """Runs in a worker: works on a piece, and says how far it is."""
    if version != __version__:
        return InputError(
            f"`address` must be that of a cluster with keras_gce {version}. "
            f"Received: one with {__version__}"
        )
    board.begin.remote(name)
    if settings:
        import keras

        keras.config.set_floatx(settings["floatx"])
        keras.config.set_image_data_format(settings["image_data_format"])
    last = 0.0

    def tell(made: float, left: float) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            board.tell.remote(name, made / ((made + left) or 1))

    with heard_by(tell), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        try:
            result = function(*shared, *own)
        except InputError as error:  # Would be one the next time too.
            return InputError(str(error))
    users = (one for one in caught if issubclass(one.category, UserWarning))
    return result, [str(one.message) for one in users]

"""A Ray cluster: joined or started, what has room there, and what a worker is told."""

import contextlib
import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keras_gce.errors import InputError, check_installed, one_line
from keras_gce.progress import say

__all__ = [
    "SHARING",
    "check_workers",
    "code_of_own",
    "environment",
    "joined",
    "keras_settings",
    "pickler",
    "room_for",
]

# Set here, where a worker's process is to have them too, wherever it runs.
PASSED_ON = (
    *("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL"),
    *("JAX_PLATFORMS", "XLA_FLAGS"),
)
# The process that hands out the work has a model on a device, too: whoever comes second
# must find memory there.
SHARING = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# Seconds in which a cluster answers.
PATIENCE = 10.0
# Of PyTorch and others, TensorFlow, and XLA for JAX.
THREADS = (
    *("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    "NPROC",
)


def check_workers(workers: int | None, address: str | None) -> None:
    """Refuses what no work can be spread with.

    Raises:
        InputError: If Ray is not installed, or an argument is not as `spread` has it.
    """
    check_installed("`workers`", "ray", "ray")
    if workers is not None:
        # It brings NumPy, without which the command line's `--help` does.
        from keras_gce.checks import check_integer

        check_integer("workers", workers, least=1)
    if address is not None and (not isinstance(address, str) or not address):
        raise InputError(
            "`address` must be that of a Ray cluster, such as 10.0.0.1:6379 or auto, "
            f"or None. Received: address={address!r}"
        )


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """Yields Ray, connected."""
    # Nobody asked to tell Ray's makers of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else what it says of lost workers is held back, and comes on stdout at the end.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    import ray

    if ray.is_initialized():
        if address is not None:
            raise InputError(
                "`address` must be None where Ray is connected already. "
                f"Received: address={address!r}"
            )
        yield ray
        return
    if address is not None:
        _check_reachable(address)
    try:
        ray.init(
            address or "local",  # Whatever RAY_ADDRESS says.
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "it does not start here"
        if address is not None:
            where = "nobody there; a cluster with tokens wants RAY_AUTH_MODE=token"
        raise InputError(
            "`address` must be that of a Ray cluster that can be joined. "
            f"Received: address={address!r}, {where} ({one_line(error, 200)})"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuses an address at which nobody answers, for whom Ray would wait for long."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":  # What is written on this machine.
        return
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            "`address` must be that of a Ray cluster that can be joined, such as "
            f"10.0.0.1:6379 or auto. Received: address={address!r} "
            f"({one_line(error, 200)})"
        ) from error


def room_for(
    ray: Any, workers: int | None, progress: bool
) -> tuple[dict[str, float], int, int]:
    """What a task takes, its number of threads, and how many run at once."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cores = [int(node.get("CPU", 0)) for node in nodes]

    def places(threads: int) -> int:
        """How many tasks of so many threads there is room for."""
        rooms = [count // threads for count in cores]
        if any(gpus):
            rooms = [min(pair) for pair in zip(rooms, gpus, strict=True)]
        return sum(rooms)

    most = places(1)
    if not most:
        raise InputError(
            "`address` must be that of a cluster with a core for each worker. "
            f"Received: {sum(cores)} cores and {sum(gpus)} GPUs"
        )
    at_once = most if workers is None else min(workers, most)
    if workers is not None and workers > most:
        what = "GPUs" if any(gpus) else "cores"
        say(f"there are {what} for {most} of {workers} workers", progress)
    threads = max(n for n in range(1, max(cores) + 1) if places(n) >= at_once)
    return {"num_cpus": threads, "num_gpus": int(any(gpus))}, threads, at_once


def environment(threads: int) -> dict[str, str]:
    """Returns the variables of a worker's process, with so many threads.

    Each would take the whole machine else.
    """
    there = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return SHARING | there | dict.fromkeys(THREADS, str(threads))


def keras_settings() -> dict[str, str]:
    """What Keras was told in this process, if anything was."""
    if "keras" not in sys.modules:
        return {}
    config = sys.modules["keras"].config
    return {
        "floatx": config.floatx(),
        "image_data_format": config.image_data_format(),
    }


@contextlib.contextmanager
def code_of_own(objects: Iterable[Any]) -> Iterator[None]:
    """Inside, a `pickler` takes the user's own modules along, rather than their names.

    Args:
        objects: Classes and functions, whose modules are meant, where they are not of
            an installed package.
    """
    from ray import cloudpickle

    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    with contextlib.ExitStack() as stack:
        for name in {one.__module__ for one in objects}:
            module = sys.modules.get(name)
            file = os.path.realpath(getattr(module, "__file__", None) or "")
            inside = any(file.startswith(path + os.sep) for path in installed)
            ours = name.partition(".")[0] == "keras_gce"
            # What is in __main__ goes along anyway.
            if module is not None and not inside and not ours and name != "__main__":
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def pickler(file: Any, reduce: Callable[[Any], Any]) -> Any:
    """Returns a pickler of what Ray can send.

    Args:
        file: Where it writes: a binary file.
        reduce: Function of an object: how it is made again, a function and its
            arguments, or `None`: as usual.
    """
    from ray import cloudpickle

    class Pickler(cloudpickle.CloudPickler):
        def reducer_override(self, value: Any) -> Any:
            found = reduce(value)
            return super().reducer_override(value) if found is None else found

    return Pickler(file)

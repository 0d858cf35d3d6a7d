"""What a computation ran on, in words."""

import os
import pathlib
import platform

from keras_gce import backend

__all__ = ["hardware"]


def hardware() -> str:
    """Returns the processor, the number of cores and the accelerators as text."""
    processor = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    try:
        # Those that this process may use.
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # Only some systems tell.
        cores = os.cpu_count() or 1
    return ", ".join([processor, f"{cores} cores", *backend.accelerators()])

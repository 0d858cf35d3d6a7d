"""What a computation ran on, in words."""

import os
import pathlib
import platform

from keras_gce import backend

__all__ = ["hardware"]


def hardware():
    """Returns the processor, the number of cores and the accelerators as text."""
    processor = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    # Those that this process may use, where the system says so.
    may_use = getattr(os, "sched_getaffinity", None)
    cores = len(may_use(0)) if may_use else os.cpu_count()
    return ", ".join([processor, f"{cores} cores", *backend.accelerators()])

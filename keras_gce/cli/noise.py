"""What TensorFlow logs at its start is kept back, unless the start fails.

On a machine without a GPU its C++ code writes a dozen lines on descriptor 2 while it
is imported and first looks for devices ("failed call to cuInit: UNKNOWN ERROR"),
whatever its settings say. They alarm, and mean that there is no GPU.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from keras_gce.imports import around_import

__all__ = ["keep_back", "quiet_tensorflow"]

# "E0000 00:00:1795722276.236802 26914 cuda_platform.cc:52] ...", the older "2024-01-31
# 12:00:00.123456: I tensorflow/core/...", and what belongs to one of them.
LOG = re.compile(
    rb"([IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\] "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] "
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions: )"
)


def quiet_tensorflow() -> None:
    """Keeps back what TensorFlow logs when it starts, whoever imports it."""
    # Whoever asks for its messages gets them.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") not in ("0", "1"):
        around_import("tensorflow", _start)


@contextlib.contextmanager
def _start() -> Iterator[None]:
    with keep_back():
        yield
        # Which it looks for now rather than at the first tensor, and says so.
        sys.modules["tensorflow"].config.list_physical_devices()


@contextlib.contextmanager
def keep_back() -> Iterator[None]:
    """Keeps back the lines of a C++ log on descriptor 2 while a block runs.

    All else that is written there follows after the block; where the block raises, the
    log too.
    """
    with contextlib.ExitStack() as stack:
        try:
            real = os.dup(2)
            stack.callback(os.close, real)
            caught = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # It is closed, or nowhere is a place for a file.
            yield
            return
        _flush()
        os.dup2(caught.fileno(), 2)
        failed = False
        try:
            yield
        except Exception:
            failed = True
            raise
        finally:
            _flush()
            os.dup2(real, 2)
            caught.seek(0)
            for line in caught:
                if failed or not LOG.match(line):
                    os.write(2, line)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()

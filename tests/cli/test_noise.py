"""What TensorFlow logs at its start is kept back."""

import os
import subprocess
import sys

import pytest

from keras_gce.cli import noise

LOGS = (
    "E0000 00:00:1795722280.472189   26914 cuda_platform.cc:52] failed call to cuInit",
    "WARNING: All log messages before absl::InitializeLog() is called are written",
    "2024-01-31 12:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN is on",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild",
)
OURS = "FutureWarning: a line of Python's"

START = """
import sys
import keras_gce
from keras_gce import imports
from keras_gce.cli import noise
waiting = [f.name for f in sys.meta_path if isinstance(f, imports._Finder)]
assert waiting == ["keras"], waiting  # The package alone keeps nothing back.
noise.quiet_tensorflow()
import tensorflow as tf
tf.constant(1)
print("on stderr", file=sys.stderr)
"""


@pytest.mark.integration
def test_tensorflow_starts_without_a_word(tf):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "on stderr\n")


def write(*lines):
    os.write(2, "".join(f"{line}\n" for line in lines).encode())


def test_a_log_is_kept_back_and_nothing_else(capfd):
    with noise.keep_back():
        write(*LOGS)
        print(OURS, file=sys.stderr)
    assert capfd.readouterr() == ("", f"{OURS}\n")
    write("after it")
    assert capfd.readouterr().err == "after it\n"


def test_a_log_is_given_back_where_the_start_fails(capfd):
    with pytest.raises(ImportError), noise.keep_back():
        write(*LOGS)
        raise ImportError
    assert capfd.readouterr().err.splitlines() == list(LOGS)
    # Who stops it wants no log.
    with pytest.raises(KeyboardInterrupt), noise.keep_back():
        write(*LOGS, OURS)
        raise KeyboardInterrupt
    assert capfd.readouterr().err == f"{OURS}\n"


def test_a_descriptor_that_is_closed_stays_closed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    kept = os.dup(2)
    os.close(2)
    try:
        with noise.keep_back():
            done = True
        with pytest.raises(OSError):
            os.fstat(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert done


@pytest.mark.parametrize(("level", "count"), [(None, 1), ("2", 1), ("0", 0)])
def test_who_asks_for_the_log_gets_it(level, count, monkeypatch):
    asked = []
    monkeypatch.setattr(noise, "around_import", lambda *args: asked.append(args))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if level is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    noise.quiet_tensorflow()
    assert len(asked) == count
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "2")

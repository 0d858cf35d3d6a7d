"""The shell completes the command line, as argcomplete has it."""

import os
import re
import subprocess
import sys

import pytest

from keras_gce import cli, names
from keras_gce.cli import completion, options

argcomplete = pytest.importorskip("argcomplete")


def completed(line):
    # It changes the parser: each question has one of its own.
    finder = argcomplete.CompletionFinder(
        cli._parser(), default_completer=completion._values
    )
    _, prefix, _, words, at = argcomplete.split_line(line, len(line))
    return finder._get_completions(words, prefix, "", at)


def test_what_follows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist.keras").touch()
    strip = [
        [word.strip() for word in completed(f"keras-gce {line}")]
        for line in ("ev", "evaluate --thr", "evaluate --threat-model ", "tune --q")
    ]
    threats = list(names.THREAT_MODELS)
    assert strip == [["evaluate"], ["--threat-model"], threats, ["--quiet"]]
    data = completed("keras-gce evaluate --dataset ")
    assert data == [*names.DATASETS, "mnist.keras"]
    assert completed("keras-gce evaluate --output mn")[0].strip() == ("mnist.keras")
    assert completed("keras-gce evaluate --eps ") == []
    assert completed("keras-gce evaluate --attacks fgsm,ap") == [
        "fgsm,apgd",
        "fgsm,apgdt",
    ]
    paper = completed("keras-gce reproduce table3 --attacks ")
    assert paper == list(names.PAPER_ATTACKS)


def test_the_process_answers_without_keras():
    line = "keras-gce reproduce fig"
    # The shell reads descriptor 8.
    command = f"exec {sys.executable} -X importtime -m keras_gce 8>&1 9>&2"
    process = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
    )
    assert process.returncode == 0
    assert re.split(r"[\v\x0b\n ]", process.stdout) == list(names.FIGURES)
    assert "argcomplete" in process.stderr
    for heavy in ("tensorflow", "| keras\n", "numpy", "rich"):
        assert heavy not in process.stderr


def test_without_argcomplete_nothing_is_completed(monkeypatch):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    completion.complete(options.Parser())

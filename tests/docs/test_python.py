"""The Python blocks of README, CONTRIBUTING and docs/, all run.

At small scale: where they have the small network it is two dense layers, which compile
in half the time, trained for an epoch. What several pages begin with runs once.

Blocks that begin with the name of a file are put into it. The block of commands after
them starts it, one process a line, all at the same time.
"""

import contextlib
import importlib.util
import io
import os
import re
import socket
import subprocess
import sys

import pytest
from pages import (
    BLOCKS,
    PAGES,
    ROOT,
    TENSORFLOW,
    blocks,
    kind,
    parsed,
    program,
    smallest_network,
)

# KerasTuner.
NEED_TENSORFLOW = {"docs/guides/alpha.md"}
# Printed figures of a trained model differ from machine to machine: of these pages'
# output only the words are compared. Flags are among them, so that these models are
# trained in full.
FIGURES_DIFFER = {"README.md"}

# What makes Python blocks small: one epoch, one alpha, a network without convolutions.
SMALL_PYTHON = {
    r"\bepochs=\d+": "epochs=1",
    r"\balphas=\(1 / 2, 1 / 3\)": "alphas=(1 / 2,)",
    r"(?m)^ *keras\.layers\.Conv2D\(.*\),$": "",
}
WITH_PYTHON = sorted({block.page for block in BLOCKS if block.language == "python"})

__all__ = ["smallest_network"]


def test_no_block_escapes():
    assert len(PAGES) > 20 and len(BLOCKS) > 60 and len(WITH_PYTHON) >= 8
    for block in BLOCKS:
        # The one workflow is run by test_ci.py.
        assert block.language in ("python", "sh", "text", "yaml"), block
    for page, text in PAGES.items():
        assert "TO BE FILLED" not in text, page
        count = len(re.findall(r"(?m)^ *(```|~~~)", text))
        assert count == 2 * len(blocks(page)), f"{page}: a fence without its twin"
        prose = re.sub(r"(?ms)^( *)```.*?^\1```", "", text)
        indented = re.search(r"(?m)^\n {4,}\S.*$", prose)
        assert not indented, f"{page}: a code block without a fence: {indented[0]}"


@pytest.fixture(scope="module")
def begun():
    """What the first blocks of pages left behind: their text -> their names."""
    return {}


@pytest.mark.integration
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python(page, begun, smallest_network, tmp_path, monkeypatch):
    if page in NEED_TENSORFLOW and not TENSORFLOW:
        pytest.skip("needs TensorFlow")
    monkeypatch.chdir(tmp_path)
    namespace, printed = {"__name__": "__main__"}, ""
    for block in blocks(page):
        if program(block):
            check_installed(block)
            with (tmp_path / program(block)).open("a") as file:
                file.write(block.text)
        elif block.language == "sh" and starts_programs(block):
            printed = run_programs(block, tmp_path)
        elif block.language == "python":
            if block.text in begun and len(namespace) == 1:
                namespace, printed = dict(begun[block.text]), ""
                continue
            first = len(namespace) == 1
            printed = run_python(block, namespace)
            if first and not printed:
                begun[block.text] = dict(namespace)
        elif block.language == "text" and printed:
            expected, found = block.text.strip(), printed.strip()
            if page in FIGURES_DIFFER:
                expected, found = (re.sub(r"[\d.]+", "#", t) for t in (expected, found))
            assert found == expected, f"{block}: it printed\n{printed}"
            printed = ""
        else:
            printed = ""


def check_installed(block):
    """Skips the page where a block chooses a backend that is not there; says if any."""
    chosen = re.search(r'environ\["KERAS_BACKEND"\] = "(\w+)"', block.text)
    if chosen and importlib.util.find_spec(chosen[1]) is None:
        pytest.skip(f"{chosen[1]} is not installed")
    return chosen


def starts_programs(block):
    return any(
        kind(parsed(line)[1]) == "program" for line in block.text.splitlines() if line
    )


def run_programs(block, folder):
    """What the processes of a block print, in the order of its lines."""
    # Keras imports these where they are, which takes longer than all the rest.
    left_out = folder / "left_out"
    left_out.mkdir(exist_ok=True)
    for name in ("tensorflow", "sklearn"):
        (left_out / f"{name}.py").write_text("raise ImportError")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(left_out), *filter(None, sys.path)])
    common = os.environ | {"PYTHONPATH": path, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    started = []
    for line in block.text.replace("8000", port).splitlines():
        variables, words = parsed(line)
        if words[0] == "export":
            common |= parsed(line.removeprefix("export "))[0]
            continue
        process = subprocess.Popen(
            [sys.executable, *words[1:]],
            cwd=folder,
            env=common | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
    try:
        said = [process.communicate(timeout=180) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, error) in zip(started, said, strict=True):
        assert process.returncode == 0, f"{block}\n{error}"
    printed = "".join(output for output, _ in said)
    return re.sub(r"(?m)^\[Gloo\].*\n", "", printed)  # JAX's, about its connections.


def run_python(block, namespace):
    # A backend is chosen before Keras is imported: such a block has its own process.
    if check_installed(block):
        process = subprocess.run(
            [sys.executable, "-c", block.text], capture_output=True, text=True
        )
        assert process.returncode == 0, f"{block}\n{process.stderr}"
        return process.stdout
    source = "\n" * block.line + block.text
    if block.page not in FIGURES_DIFFER:
        for pattern, smaller in SMALL_PYTHON.items():
            source = re.sub(pattern, smaller, source)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, ROOT / block.page, "exec"), namespace)
    return out.getvalue()

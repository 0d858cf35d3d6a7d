"""The Python blocks of README, CONTRIBUTING and docs/, all run.

At small scale: where they have the small network it is two dense layers, which compile
in half the time, trained for an epoch. What several pages begin with runs once.
"""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys

import pytest
from pages import BLOCKS, PAGES, ROOT, TENSORFLOW, blocks, smallest_network

# KerasTuner and tf.distribute.
NEED_TENSORFLOW = {"docs/guides/alpha.md", "docs/guides/scaling.md"}
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
        if block.language == "python":
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


def run_python(block, namespace):
    # A backend is chosen before Keras is imported: such a block has its own process.
    chosen = re.search(r'environ\["KERAS_BACKEND"\] = "(\w+)"', block.text)
    if chosen:
        if importlib.util.find_spec(chosen[1]) is None:
            pytest.skip(f"{chosen[1]} is not installed")
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

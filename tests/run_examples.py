"""Runs all examples at small scale: scripts in one process, notebooks in two.

    python tests/run_examples.py [FOLDER]

So Keras and TensorFlow are started three times, not once for each. A script runs in a
folder of its own below FOLDER, as `python SCRIPT` would run it; a notebook cell by cell
in IPython, which is what a kernel runs, with less training than a reader's.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
# What a process runs: every `step`th of some files, from the `first` on.
KINDS = {
    "scripts": ("*.py", 0, 1),
    "notebooks": ("*.ipynb", 0, 2),
    "other notebooks": ("*.ipynb", 1, 2),
}


def main(folder):
    """Runs all kinds at the same time; returns the exit code."""
    environment = {**os.environ, "KERAS_GCE_SMALL": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    running = {
        kind: subprocess.Popen(
            [sys.executable, __file__, str(folder), kind],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for kind in KINDS
    }
    code = 0
    for process in running.values():
        printed, _ = process.communicate()
        print(printed, end="", flush=True)
        code = code or process.returncode
    return code


def run_all(kind, folder):
    """Runs the examples of one kind, each to its end; returns the exit code."""
    code = 0
    pattern, first, step = KINDS[kind]
    paths = sorted(EXAMPLES.glob(pattern))[first::step]
    if not paths:
        print(f"no {kind} in {EXAMPLES}")
        code = 1
    for path in paths:
        start, printed = time.perf_counter(), io.StringIO()
        here = folder / path.stem
        here.mkdir(parents=True, exist_ok=True)
        try:
            with (
                contextlib.chdir(here),
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
            ):
                run_script(path) if kind == "scripts" else run_notebook(path)
            said = "ok"
        # A script ends itself only where something failed.
        except (Exception, SystemExit):
            code, said = 1, f"FAILED\n{printed.getvalue()}\n{traceback.format_exc()}"
        print(f"{path.name}: {time.perf_counter() - start:.1f} s, {said}", flush=True)
        _as_at_first()
    return code


def run_script(path):
    """Runs a script as the program."""
    sys.argv = [str(path)]
    runpy.run_path(str(path), run_name="__main__")


def run_notebook(path):
    """Runs the code cells of a notebook, in their order, in a fresh namespace."""
    shell = _shell()
    shell.reset(new_session=True)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    shortened = 0
    for source in sources:
        source, count = re.subn(r'(EPOCHS = \{"digits": )\d+', r"\g<1>2", source)
        shortened += count
        images = r"data\.test\.take\((\d+|min\(len\(data\.test\), \d+\))\)"
        source = re.sub(images, "data.test.take(40)", source)
        shell.run_cell(source).raise_error()
    if shortened != 1:
        raise ValueError(f"{path.name} sets EPOCHS {shortened} times")


@functools.cache
def _shell():
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """Nothing to do for `%matplotlib inline`, as in a kernel."""

    return Shell.instance()


def _as_at_first():
    """Lets go of the models that an example has made."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(run_all(sys.argv[2], pathlib.Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        given = sys.argv[1] if len(sys.argv) > 1 else temporary
        sys.exit(main(pathlib.Path(given).resolve()))

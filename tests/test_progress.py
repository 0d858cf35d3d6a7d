"""What is said on stderr while the work goes on."""

import contextlib
import os
import pty
import sys
import time

import pytest

from keras_gce import progress
from keras_gce.progress import aside, bar, quiet, say


@pytest.fixture
def now(monkeypatch):
    """Sets the clock."""
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])

    def at(seconds):
        clock[0] = 100.0 + seconds

    return at


def test_a_line_stays_and_is_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = "a line that is longer than the terminal is wide, [red] and in brackets"
    say(text)
    assert capsys.readouterr() == ("", text + "\n")
    say(text, show=False)
    assert capsys.readouterr() == ("", "")


def on_terminal(monkeypatch, work):
    """What a function writes on a terminal that is its stderr."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    main, other = pty.openpty()
    with os.fdopen(other, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        work()
    written = b""
    # The kernel hands it on bit by bit, and fails at the end.
    with contextlib.suppress(OSError):
        while True:
            written += os.read(main, 65536)
    os.close(main)
    return written.decode()


def test_a_terminal_has_a_bar_on_stderr(capsys, monkeypatch):
    def work():
        with bar("working", total=2) as advance:
            advance(1, "[red] one", "600/1200 images")
            print("the result")

    written = on_terminal(monkeypatch, work)
    assert "[red] one" in written and "600/1200 images, 50%" in written
    assert "the result" not in written  # Which goes where it belongs.
    assert capsys.readouterr().out == "the result\n"

    def without():
        with bar("working", total=2, show=False) as advance:
            advance(1, "halfway", "")
        with quiet(), bar("working", total=2) as advance:
            advance(1, "halfway", "")
        sys.stderr.write("nothing else")

    assert on_terminal(monkeypatch, without) == "nothing else"


def test_a_log_has_a_line_a_minute(capsys, monkeypatch):
    # Colours, which many set for their CI, make no terminal of a log.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert progress.LOG_EVERY == 60
    with bar("working", total=4) as advance:
        advance(1, "working", "1/4 images")
    assert capsys.readouterr() == ("", "")  # It took no minute.
    monkeypatch.setattr(progress, "LOG_EVERY", 0.01)
    err = ""
    with bar("working", total=4) as advance:
        advance(1, "attack 1/2", "300/1200 images")
        # Also between two steps, of which the second may be long in coming.
        while err.count("\n") < 2:
            time.sleep(0.01)
            err += capsys.readouterr().err
        with quiet():
            say("nothing")
    assert all(
        line.startswith("attack 1/2: 300/1200 images, 25%, 0:00:0")
        for line in err.splitlines()
    )
    capsys.readouterr()
    with quiet(), bar("working", total=4):
        time.sleep(0.05)
    with quiet(), quiet(False):
        say("nothing")
    assert capsys.readouterr() == ("", "")
    with pytest.raises(KeyboardInterrupt), bar("working"):
        raise KeyboardInterrupt
    monkeypatch.setattr(sys, "stderr", None)  # It is closed.
    with bar("working"):
        time.sleep(0.05)
    say("nobody reads this")


def test_what_others_print_goes_aside(capsys):
    with aside():
        print("of another library")
    print("the result")
    assert capsys.readouterr() == ("the result\n", "of another library\n")
    with quiet(), aside():
        print("of another library")
    print("the result")
    assert capsys.readouterr() == ("the result\n", "")


def test_the_time_that_is_left(now):
    work = progress._Work("working", 200.0, 100.0)
    assert work.line == "working: 50%, 0:00:00 so far"
    # Of the 100 that were done before nothing can be told.
    now(2)
    work.advance(1.0, "one", "1/100 images", None)
    assert work.line == "one: 1/100 images, 50%, 0:00:02 so far"  # Compilation, mostly.
    now(10)
    work.advance(19.0, "two", "20/100 images", None)
    assert work.line == "two: 20/100 images, 60%, 0:00:40 left"
    now(15)
    assert work.state == "20/100 images, 60%, 0:00:35 left"  # It falls meanwhile.
    now(50)
    assert work.left is None and work.state.endswith("0:00:50 so far")  # It was wrong.
    # What is left may become less without being done: that took no time.
    work.advance(20.0, "three", "40/40 images", 10.0)
    assert work.left == pytest.approx(50 * 10 / 40)
    assert "93%" in work.state
    unknown = progress._Work("looking", None, 0.0)
    assert unknown.line == "looking: 0:00:00 so far"
    # After a minute even a small share tells.
    slow = progress._Work("training", 10_000.0, 0.0)
    now(50 + 61)
    slow.advance(1.0, "training", "", None)
    assert slow.left == pytest.approx(61 * 9999)


NOTEBOOK = """
import time
from keras_gce import progress
progress.NOTEBOOK_EVERY = 0.05
with progress.bar("working", total=2) as advance:
    advance(1, "one", "600/1200 images")
    time.sleep(0.3)
print("the result")
"""


@pytest.mark.integration
def test_a_notebook_has_a_line_that_changes():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")
    shown, process = [], client.process_message

    def look(message, *others):
        if message["msg_type"] in ("display_data", "update_display_data"):
            shown.append(message["content"]["data"]["text/plain"])
        return process(message, *others)

    client.process_message = look
    client.execute()
    first, *states, last = shown
    assert first == "working: 0%, 0:00:00 so far"
    assert len(states) > 2 and all(
        state.startswith("one: 600/1200 images, 50%, 0:00:00") for state in states
    )
    assert last == ""
    gone, printed = notebook.cells[0].outputs
    assert gone["data"] == {"text/plain": ""} and printed["text"] == "the result\n"

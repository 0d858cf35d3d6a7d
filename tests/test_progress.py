"""What is said on stderr while the work goes on."""

from keras_gce.progress import bar, say


def test_a_line_stays_and_is_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = "a line that is longer than the terminal is wide, [red] and in brackets"
    say(text)
    assert capsys.readouterr() == ("", text + "\n")
    say(text, show=False)
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_on_stderr(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # As on a terminal.
    with bar("working", total=2) as advance:
        advance(1, "halfway")
    out, err = capsys.readouterr()
    assert not out and "halfway" in err
    with bar("working", total=2, show=False) as advance:
        advance(1, "halfway")
    assert capsys.readouterr() == ("", "")

import errno
import io
import os
import sys

import pytest

import keras_gce
from keras_gce import cli, progress
from keras_gce.cli import COMMANDS
from keras_gce.errors import BackendError


def test_errors_of_the_parser_are_one_line(refused):
    assert "{demo,train,evaluate,merge,report,compare,reproduce,tune}" in refused()
    assert "'fly'" in refused("fly")
    assert "--dataset, --output" in refused("train")
    assert "--nonsense" in refused(
        *("train", "--dataset", "digits", "--output", "m.keras", "--nonsense")
    )


def test_help(capsys):
    for arguments in ([], *([module.__name__.split(".")[-1]] for module in COMMANDS)):
        with pytest.raises(SystemExit) as stop:
            cli.main([*arguments, "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert out.startswith(" ".join(["usage: keras-gce", *arguments]))
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "(default: fgsm,pgd,noise,autoattack)" in out and "None" not in out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("`n` must be\n2"), 2, "keras-gce: error: `n` must be 2\n"),
        (BackendError("no backend"), 2, "keras-gce: error: no backend\n"),
        (KeyboardInterrupt(), 130, "keras-gce: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/report.json"),
            1,
            "keras-gce: error: No space left on device: out/report.json\n",
        ),
        # As h5py raises it, in lines of its own.
        (
            OSError("Can't write\n(errno 28)"),
            1,
            "keras-gce: error: Can't write (errno 28)\n",
        ),
    ],
)
def test_errors_become_exit_codes(error, code, line, monkeypatch, capsys):
    def run(args):
        raise error

    monkeypatch.setattr(cli.demo, "run", run)
    assert cli.main(["demo"]) == code
    assert capsys.readouterr() == ("", line)
    monkeypatch.setattr(sys, "stderr", None)  # It is closed.
    assert cli.main(["demo"]) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_has_its_exit_code(answer, code, monkeypatch):
    monkeypatch.setattr(cli.demo, "run", lambda args: answer)
    assert cli.main(["demo"]) == code


class Pipe(io.StringIO):
    """An output that nobody reads any more, or whose disk is full."""

    def __init__(self, error):
        super().__init__()
        self.error, self.descriptor = error, os.dup(2)

    def flush(self):
        raise self.error

    def fileno(self):
        return self.descriptor


@pytest.mark.parametrize(
    ("number", "line"),
    [(errno.EPIPE, ""), (errno.ENOSPC, "keras-gce: error: No space left on device\n")],
)
def test_what_cannot_be_printed_is_no_traceback(number, line, monkeypatch, capsys):
    pipe = Pipe(OSError(number, os.strerror(number)))
    monkeypatch.setattr(cli.demo, "run", lambda args: print("the result"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert cli.main(["demo"]) == 1
        # Which ends by a SystemExit of its own where all is well.
        assert cli.main(["demo", "--help"]) == 1
    # What Python itself still tries to write goes nowhere.
    assert os.path.samestat(os.fstat(pipe.descriptor), os.stat(os.devnull))
    os.close(pipe.descriptor)
    assert capsys.readouterr() == ("", 2 * line)


def test_quiet_is_of_all_commands(monkeypatch, capsys):
    def run(args):
        progress.say("on the way")
        print("the result")

    monkeypatch.setattr(cli.demo, "run", run)
    assert cli.main(["demo"]) == 0
    assert capsys.readouterr() == ("the result\n", "on the way\n")
    assert cli.main(["demo", "--quiet"]) == 0
    assert capsys.readouterr() == ("the result\n", "")
    progress.say("after it")
    assert capsys.readouterr().err == "after it\n"
    for command in cli.COMMANDS:
        name = command.__name__.rpartition(".")[2]
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        assert "--quiet" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"keras-gce {keras_gce.__version__}\n"


def test_what_is_wrong_with_the_program_is_raised(monkeypatch):
    def run(args):
        raise TypeError

    monkeypatch.setattr(cli.demo, "run", run)
    with pytest.raises(TypeError):
        cli.main(["demo"])


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["evaluate", "none.keras", "--eps", "0.1", "--html", "x"], "jinja2", "report"),
        (["evaluate", "none.keras", "--eps", "0.1", "--html", "x"], "PIL", "report"),
        (["report", "none.json", "--html", "x"], "jinja2", "report"),
        (["reproduce", "figure1"], "sklearn", "plot"),
        (["reproduce", "figure2"], "matplotlib", "plot"),
        (["tune", "--eps", "0.1", "--model", "small_cnn"], "matplotlib", "tune"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_missing_package_is_found_before_the_work(
    arguments, package, extra, refused, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    if arguments[0] != "report" and arguments[1] != "figure2":
        arguments = [*arguments, "--dataset", "digits"]
    line = refused(*arguments)
    assert f'pip install "keras_gce[{extra}]". Received: no {package}' in line
    assert not list(tmp_path.rglob("*.*"))

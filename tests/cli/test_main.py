import pytest

from keras_gce import cli


def test_errors_of_the_parser_are_one_line(refused):
    assert "{demo,train,evaluate,reproduce,tune}" in refused()
    assert "'fly'" in refused("fly")
    assert "--dataset, --output" in refused("train")
    assert "--nonsense" in refused(
        *("train", "--dataset", "digits", "--output", "m.keras", "--nonsense")
    )


def test_help(capsys):
    for arguments in ([], ["demo"], ["train"], ["evaluate"], ["reproduce"], ["tune"]):
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
        (KeyboardInterrupt(), 130, "keras-gce: interrupted\n"),
    ],
)
def test_errors_become_exit_codes(error, code, line, monkeypatch, capsys):
    def run(args):
        raise error

    monkeypatch.setattr(cli.demo, "run", run)
    assert cli.main(["demo"]) == code
    assert capsys.readouterr().err == line


def test_what_is_wrong_with_the_program_is_raised(monkeypatch):
    def run(args):
        raise TypeError

    monkeypatch.setattr(cli.demo, "run", run)
    with pytest.raises(TypeError):
        cli.main(["demo"])

"""`evaluate --part` and `merge`."""

import pathlib

import keras
import pytest

from keras_gce import cli, evaluation
from keras_gce.cli.attack_options import attacks_of
from keras_gce.evaluation import RobustnessReport


def read(path):
    return RobustnessReport.from_json(pathlib.Path(path).read_text())


@pytest.mark.integration
def test_two_parts_make_a_whole(tiny, tmp_path, capsys, refused, digits):
    names = ("one.json", "two.json", "merged.json", "page.html")
    one, two, merged, page = (str(tmp_path / name) for name in names)
    evaluate = ["evaluate", tiny, "--dataset", "digits", "--examples", "40"]
    evaluate += ["--batch-size", "10", "--eps", "0.05", "--attacks", "fgsm,noise"]
    evaluate += ["--output"]
    assert cli.main([*evaluate, one, "--part", "1/2", "--html", page]) == 0
    assert "tiny.keras on digits, part 1 of 2: clean" in capsys.readouterr().out
    assert (
        read(one).curves == [] and "part 1 of 2</h1>" in pathlib.Path(page).read_text()
    )
    assert cli.main([*evaluate, two, "--part", "2/2"]) == 0
    capsys.readouterr()

    merge = ["merge", two, one, "--output", merged, "--html", page]
    for _ in range(2):  # The second time they replace what they wrote.
        assert cli.main(merge) == 0
        out = capsys.readouterr().out
        assert out.startswith("tiny.keras on digits: clean accuracy")
        assert f"report written to {merged}\nreport written to {page}\n" in out
    made = read(merged)
    alone = evaluation.evaluate(
        *(keras.models.load_model(tiny), digits.test.take(40)),
        attacks_of(cli._parser().parse_args([*evaluate, one])),
        **{"batch_size": 10, "progress": False, "diagnostics": False},
    )
    assert made.robust.tolist() == alone.robust.tolist()
    assert [row.mean_l2 for row in made.results] == [r.mean_l2 for r in alone.results]
    assert made.class_names == read(one).class_names and made.part is None
    assert made.setup["command"].count("--part") == 2
    assert "tiny.keras on digits</h1>" in pathlib.Path(page).read_text()

    before = pathlib.Path(one).read_text()
    for received, *arguments in (
        ("`PART.json` must be of all 2 parts. Received: 1; part 2", one),
        ("as number 2 of them one of a whole", one, merged),
        ("none.json (No such file", one, "none.json"),
        (f"which is that of {one}", one, two, "--output", one, "--overwrite"),
        ("older HTML report", one, two, "--html", tiny),
    ):
        if "--output" not in arguments:
            arguments += ["--output", str(tmp_path / "new.json")]
        line = refused("merge", *arguments)
        assert received in line, line
    assert pathlib.Path(one).read_text() == before
    assert not (tmp_path / "new.json").exists()


def test_wrong_input(refused, saved):
    evaluate = ["evaluate", saved, "--dataset", "digits", "--eps", "0.1"]
    for part in ("0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", "1/-2", ""):
        line = refused(*evaluate, f"--part={part}")
        wanted = "argument --part: must be I/N, the I-th of N parts, such as 2/7."
        assert line.endswith(f"{wanted} Received: {part}".strip())
    line = refused(*evaluate, "--attacks", "fgsm", "--part", "3/3")
    assert "`--part` must be (i, n) with n <= 1" in line
    assert "--output" in refused("merge", "one.json")

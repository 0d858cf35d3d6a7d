"""`report` and `compare`: a report's file in other forms."""

import csv
import dataclasses
import io
import pathlib

import pytest

from keras_gce import cli
from keras_gce.evaluation import compare


@pytest.fixture
def files(report, tmp_path):
    """Paths of a report, and of another model's on the same images."""
    named = dataclasses.replace(report, setup={"model": "a.keras", "dataset": "digits"})
    other = dataclasses.replace(
        report,
        setup={"model": "b_1.keras"},
        clean=report.clean | True,
        row_robust=report.row_robust | True,
    )
    for name, one in (("a", named), ("b", other)):
        (tmp_path / f"{name}.json").write_text(one.to_json())
    return str(tmp_path / "a.json"), str(tmp_path / "b.json")


def shown(report):
    """Its Markdown, with the file's name in place of the model's."""
    return report.to_markdown().replace("small_cnn:", "a.keras on digits:", 1)


def test_a_report_is_shown_again(files, report, capsys):
    assert cli.main(["report", files[0]]) == 0
    assert capsys.readouterr().out == shown(report)


def test_a_report_in_other_forms(files, report, tmp_path, capsys):
    names = {"--html": "r.html", "--csv": "r.csv", "--latex": "r.tex"}
    names["--markdown"] = "r.md"
    options = [w for o, n in names.items() for w in (o, str(tmp_path / n))]
    # A second time they are known, and replaced.
    for _ in range(2):
        assert cli.main(["report", files[0], *options]) == 0
        assert capsys.readouterr().out.count("report written to") == 4
    assert (tmp_path / "r.md").read_text() == shown(report)
    assert "digits" in (tmp_path / "r.html").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == len(report.results) + 1
    assert float(rows[0]["robust_accuracy"]) == report.results[0].robust_accuracy
    assert rows[-1]["attack"] == "worst case"
    assert float(rows[-1]["robust_accuracy"]) == report.worst_case_accuracy
    assert (float(rows[-1]["low"]), float(rows[-1]["high"])) == (
        report.confidence_interval()
    )
    tex = (tmp_path / "r.tex").read_text()
    assert "Accuracy of a.keras on digits under attack" in tex
    assert f"Worst case &  & {100 * report.worst_case_accuracy:.2f}" in tex
    assert "training\\_loss\\_hides" in tex and "@inproceedings{chen2019gce" in tex


def test_two_reports_side_by_side(files, report, capsys):
    assert cli.main(["compare", *files]) == 0
    out = capsys.readouterr().out
    assert "b_1.keras alone on" in out and "exact McNemar test" in out
    accuracy = f"{100 * report.results[0].robust_accuracy:.2f}"
    same = f"| {accuracy} | {accuracy} |"
    assert f"| FGSM, through crossentropy, linf 0.1 {same}" in out
    worst = 100 * report.worst_case_accuracy
    assert f"| worst case, linf 0.1 | {worst:.2f} | 100.00 |" in out
    assert cli.main(["compare", files[0], files[0]]) == 0
    assert "a.keras on digits (A)" in capsys.readouterr().out


def test_wrong_input(files, refused, report, tmp_path):
    (tmp_path / "nonsense.json").write_text("{")
    (tmp_path / "r1.json").write_text("{}")
    few = dataclasses.replace(report, data="another")
    other = str(tmp_path / "other.json")
    pathlib.Path(other).write_text(few.to_json())
    (tmp_path / "blob.json").write_bytes(b"\xff\xfe")
    for received, *arguments in (
        ("none.json (No such file", "report", "none.json"),
        ("nonsense.json", "report", str(tmp_path / "nonsense.json")),
        ("no text", "report", str(tmp_path / "blob.json")),
        ("Is a directory", "report", str(tmp_path)),
        ("b.json", "compare", files[0], str(tmp_path / "none" / "b.json")),
        ("r1.json, which is '{}'", "report", str(tmp_path / "r1.json")),
        ("`A.json` and `B.json` must be on the same", "compare", files[0], other),
        ("that of REPORT", "report", files[0], "--csv", files[0]),
        ("older LaTeX report", "report", files[0], "--latex", files[1]),
        ("that of --html", "report", files[0], "--csv", "x", "--html", "x"),
    ):
        line = refused(*arguments)
        assert received in line, line


def test_reports_that_do_not_know_their_images(files, report, capsys):
    unknown = dataclasses.replace(report, data=None, labels=None)
    pathlib.Path(files[1]).write_text(unknown.to_json())
    assert cli.main(["compare", *files]) == 0
    assert "whether they are the same is not known" in capsys.readouterr().out


def test_a_name_that_markdown_reads_as_its_own(report):
    made = dataclasses.replace(report, setup={"model": "a|b.keras"})
    text = compare(made, report).to_markdown()
    assert r"| accuracy % | a\|b.keras | small_cnn |" in text

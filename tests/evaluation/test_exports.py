"""A report as CSV and LaTeX."""

import csv
import dataclasses
import io
import pathlib
import re

from keras_gce.evaluation import RobustnessReport


def test_several_balls(report):
    row = report.results[0]
    rows = [row, dataclasses.replace(row, eps=0.2), dataclasses.replace(row, norm="l2")]
    free = dataclasses.replace(row, name="JSMA", eps=None, norm=None, loss=None)
    made = dataclasses.replace(
        report, results=[*rows, free], row_robust=report.row_robust[:4]
    )
    lines = list(csv.DictReader(io.StringIO(made.to_csv())))
    worst = [line for line in lines if line["attack"] == "worst case"]
    assert [(line["norm"], line["eps"]) for line in worst] == [
        ("l2", "0.1"),
        ("linf", "0.1"),
        ("linf", "0.2"),
    ]
    assert lines[3]["eps"] == "" and lines[3]["loss"] == ""
    tex = made.to_latex()
    assert r"Attack & Loss & Norm & $\varepsilon$ & Accuracy (\%) \\" in tex
    assert "JSMA & own & -- & -- &" in tex and tex.count("Worst case &") == 3
    # As many cells in each row as there are columns.
    body = re.search(r"toprule\n(.*)\\bottomrule", tex, re.DOTALL)[1]
    assert {line.count(" & ") for line in body.splitlines() if "&" in line} == {4}


def test_queries_stand_where_some_are_counted(report):
    rows = list(report.results)
    assert (
        "queries"
        not in dataclasses.replace(
            report,
            results=[dataclasses.replace(row, median_queries=None) for row in rows],
        ).to_markdown()
    )
    rows[-1] = dataclasses.replace(rows[-1], median_queries=123.0)
    made = dataclasses.replace(report, results=rows)
    table = [line for line in made.to_markdown().splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in table if "---" not in line}) == 1
    assert table[0].count("|") == table[1].count("|")
    column = table[0].split(" | ").index("median queries")
    cells = [line.split(" | ")[column] for line in table[2:]]
    assert cells == ["–"] * (len(cells) - 1) + ["123"]
    lines = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [line["median_queries"] for line in lines][: len(rows)] == [
        *[""] * (len(rows) - 1),
        "123.0",
    ]
    assert made.to_html().count(", queries 123</span>") == 1


def test_what_latex_reads_as_its_own(report):
    made = dataclasses.replace(report, setup={"model": r"50%_a&b#{c}$d~e^f.keras"})
    assert (
        r"50\%\_a\&b\#\{c\}\$d\textasciitilde{}e\textasciicircum{}f" in made.to_latex()
    )


def test_nothing_has_a_radius(report):
    free = dataclasses.replace(report.results[0], eps=None, norm=None)
    made = dataclasses.replace(
        report, results=[free], row_robust=report.row_robust[:1], checks=[]
    )
    assert "95\\% interval of the share left (no radius)" in made.to_latex()
    assert "worst case" not in made.to_csv()


def test_a_report_of_version_1():
    text = (pathlib.Path(__file__).parent / "report_v1.json").read_text()
    old = RobustnessReport.from_json(text)
    assert len(old.to_csv().splitlines()) == 1 + 6 + 1
    assert "Accuracy of small\\_cnn under attack" in old.to_latex()


def test_the_citation_is_that_of_the_repository(report):
    """CITATION.cff's authors and title, in LaTeX's comment."""
    root = pathlib.Path(__file__).parents[2]
    cited = (root / "CITATION.cff").read_text()
    tex = re.sub(r"\n% +", " ", report.to_latex())
    families = re.findall(r"family-names: (\w+)", cited)
    given = re.findall(r"given-names: (\S+)", cited)
    for names in zip(families, given, strict=True):
        assert ", ".join(names) in tex
    assert re.search(r"preferred-citation:\n.*\n  title: (.*)", cited)[1] in tex

"""The gates: what a report has to hold for exit code 0."""

import dataclasses

import pytest

from keras_gce import cli
from keras_gce.cli import gates
from keras_gce.evaluation import Flag


def parsed(*options):
    arguments = ["evaluate", "model.keras", "--dataset", "digits", "--eps", "0.1"]
    args = cli._parser().parse_args([*arguments, *options])
    gates.check_gates(args)
    return args


@pytest.fixture
def half(report):
    """A report whose worst case is 50% of 100 images, of 40.38 to 59.62%."""
    rows = report.row_robust.copy()
    rows[:] = False
    rows[:, :50] = True
    flag = Flag("zero_gradients", 0.3, 0.1, "seen")
    quiet = Flag("logits_jump", 0.0, 0.1, "not seen")
    return dataclasses.replace(
        report, clean=rows[0] | True, row_robust=rows, checks=[flag, quiet]
    )


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], []),
        (["--fail-under", "50"], []),
        (["--fail-under", "50.01"], ["--fail-under 50.01: the worst case is 50.00%"]),
        (["--fail-under", "60%"], ["--fail-under 60: the worst case is 50.00%"]),
        (["--fail-under-interval", "40"], []),
        (
            ["--fail-under", "41", "--fail-under-interval"],
            ["--fail-under-interval 41: the 95% interval of the worst case begins at "]
            + ["40.38%"],
        ),
        (
            ["--fail-under", "51", "--fail-under-interval"],
            ["--fail-under 51: the worst case is 50.00%"]
            + ["--fail-under-interval 51: the 95% interval of the worst case begins "]
            + ["at 40.38%"],
        ),
        (["--fail-under", "0.4%", "--fail-under-interval", "1"], []),
        (["--fail-on-flag"], ["--fail-on-flag: zero_gradients"]),
        (["--fail-on-flag", "Zero-Gradients,"], ["--fail-on-flag: zero_gradients"]),
        (["--fail-on-flag", "logits_jump,nan_outputs"], []),
    ],
    ids=str,
)
def test_a_gate(half, options, lines):
    found = gates.failures(half, parsed(*options))
    assert "".join(found) == "".join(lines)


def test_both_gates_may_fail(half):
    args = parsed("--fail-under", "60", "--fail-under-interval", "50", "--fail-on-flag")
    assert len(gates.failures(half, args)) == 3


def test_wrong_gates(refused, saved):
    on_digits = ["evaluate", saved, "--dataset", "digits", "--eps", "0.1"]
    for received, *options in (
        ("such as 40. Received: 101", "--fail-under", "101"),
        ("Received: x", "--fail-under", "x"),
        # Of who thinks in fractions.
        ("Received: 0.4; 0.4% for less", "--fail-under", "0.4"),
        ("Received: 1/3", "--fail-under", "1/3"),
        ("an --eps above 0", "--fail-under", "5", "--eps", "0"),
        ("`--fail-under-interval` must have a percentage", "--fail-under-interval"),
        ("Received: masked", "--fail-on-flag", "masked"),
        ("a radius", "--fail-under", "5", "--attacks", "jsma"),
    ):
        line = refused(*on_digits, *options)
        assert received in line, line

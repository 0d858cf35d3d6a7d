"""The gates of an evaluation: what a report has to hold for exit code 0."""

import argparse
from typing import TYPE_CHECKING

from keras_gce import names
from keras_gce.cli import options
from keras_gce.errors import InputError

if TYPE_CHECKING:  # It brings Keras.
    from keras_gce.evaluation import RobustnessReport

__all__ = ["FAILED", "add_gates", "check_gates", "failures"]

# The exit code where a gate does not hold.
FAILED = 3


def add_gates(parser: options.Parser) -> None:
    """Adds the gates."""
    parser.add_argument(
        "--fail-under",
        type=options.percent,
        metavar="PERCENT",
        help=f"exit with {FAILED} where the worst case is below: 40",
    )
    parser.add_argument(
        "--fail-under-interval",
        type=options.percent,
        nargs="?",
        const=True,
        metavar="PERCENT",
        help="the same of the lower end of its 95%% interval; without a number that "
        "of --fail-under",
    )
    parser.add_argument(
        "--fail-on-flag",
        type=options.names_among(names.FLAGS),
        nargs="?",
        const=[],
        metavar="NAME[,NAME...]",
        help=f"exit with {FAILED} where one of these flags is raised; without a name "
        "any",
    )


def check_gates(args: argparse.Namespace) -> None:
    """Refuses gates that nothing could hold against.

    Raises:
        InputError: If there is no percentage, or no attack that has a radius.
    """
    if args.fail_under_interval is True and args.fail_under is None:
        raise InputError(
            "`--fail-under-interval` must have a percentage, or --fail-under. "
            "Received: neither"
        )
    gated = (args.fail_under, args.fail_under_interval) != (None, None)
    if gated and not max(args.eps):
        raise InputError(
            "`--fail-under` must have an --eps above 0, with which there is an attack. "
            f"Received: --eps {','.join(map('{:g}'.format, args.eps))}"
        )
    if gated and set(args.attacks) <= set(names.EPS_FREE_ATTACKS) and not args.source:
        raise InputError(
            "`--fail-under` must have an attack with a radius among --attacks. "
            f"Received: {', '.join(args.attacks)}"
        )


def failures(report: "RobustnessReport", args: argparse.Namespace) -> list[str]:
    """Returns a line for each gate that a report does not hold.

    Args:
        report: A `RobustnessReport`.
        args: The parsed arguments.
    """
    lines = []
    worst, (low, _) = report.worst_case_accuracy, report.confidence_interval()
    least, of_interval = args.fail_under, args.fail_under_interval
    if of_interval is True:
        of_interval = least
    if least is not None and 100 * worst < least:
        lines.append(f"--fail-under {least:g}: the worst case is {worst:.2%}")
    if of_interval is not None and 100 * low < of_interval:
        lines.append(
            f"--fail-under-interval {of_interval:g}: the 95% interval of the worst "
            f"case begins at {low:.2%}"
        )
    if args.fail_on_flag is not None:
        names_of = args.fail_on_flag or names.FLAGS
        raised = [flag.name for flag in report.flags if flag.name in names_of]
        if raised:
            lines.append(f"--fail-on-flag: {', '.join(raised)}")
    return lines

"""The options of work that Ray's workers share."""

import argparse
import os

from keras_gce import workers
from keras_gce.cli import options
from keras_gce.errors import InputError

__all__ = ["add_workers", "check_workers"]


def add_workers(parser: options.Parser, what: str) -> None:
    """Adds the number of workers, and their cluster.

    Args:
        parser: The parser.
        what: What the workers do, for the help.
    """
    parser.add_argument(
        "--workers",
        type=options.count,
        metavar="N",
        help=f"so many {what} at once, by processes of Ray (extra ray), on a GPU each, "
        "or on their share of the cores",
    )
    parser.add_argument(
        "--ray",
        dest="address",
        metavar="ADDRESS",
        help="the Ray cluster that the workers are of: 10.0.0.1:6379; without it they "
        "run on this machine",
    )


def check_workers(args: argparse.Namespace) -> None:
    """Refuses workers that can't be had, and has them leave room on the devices."""
    if args.workers is None:
        if args.address is not None:
            raise InputError(
                f"`--ray` must be given with --workers. Received: --ray {args.address} "
                "alone"
            )
        return
    if vars(args).get("part"):
        raise InputError(
            "`--part` must be given without --workers, which attack all parts. "
            f"Received: --part {'/'.join(map(str, args.part))}, --workers "
            f"{args.workers}"
        )
    workers.check_workers(args.workers, args.address)
    # Keras is imported here after this.
    for name, value in workers.SHARING.items():
        os.environ.setdefault(name, value)

"""The command line: every command is a call into the package, in a file of its name.

Nothing here imports Keras before the arguments are known to be right, since that
brings TensorFlow with it and takes seconds.
"""

import os
import sys
from collections.abc import Sequence

from keras_gce.cli import (
    compare,
    demo,
    evaluate,
    options,
    report,
    reproduce,
    train,
    tune,
)

__all__ = ["main"]

COMMANDS = (demo, train, evaluate, report, compare, reproduce, tune)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `keras-gce`.

    Args:
        argv: List of arguments. Defaults to `None`: those of the process.

    Returns:
        The exit code: 0 done, 2 the input was wrong, 130 interrupted. What is wrong
        with the program itself is raised, and exits with 1.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = _parser().parse_args(argv)
        args.argv = argv
        # On CPUs where TensorFlow leaves oneDNN off it makes these models 2 to 4 times
        # faster; both have to be set before TensorFlow is imported.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        code = args.run(args)
        return code or 0
    except ValueError as error:
        # An InputError, or what Keras and a loss raise where a model doesn't suit them.
        text = " ".join(str(error).split())
        print(f"keras-gce: error: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keras-gce: interrupted", file=sys.stderr)
        return 130


def _parser() -> options.Parser:
    parser = options.Parser(
        prog="keras-gce",
        description="Train with guided complement entropy, and measure honestly "
        "whether it helped.",
    )
    commands = parser.add_subparsers(title="commands", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser

# PYTHON_ARGCOMPLETE_OK
"""The command line: every command is a call into the package, in a file of its name.

Nothing here imports Keras before the arguments are known to be right, since that
brings TensorFlow with it and takes seconds.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from keras_gce import __version__
from keras_gce.cli import (
    compare,
    completion,
    demo,
    evaluate,
    merge,
    noise,
    options,
    report,
    reproduce,
    train,
    tune,
)
from keras_gce.cli.wording import in_options
from keras_gce.errors import BackendError, WorkError
from keras_gce.progress import quiet

__all__ = ["main"]

COMMANDS = (demo, train, evaluate, merge, report, compare, reproduce, tune)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `keras-gce`.

    Args:
        argv: List of arguments. Defaults to `None`: those of the process.

    Returns:
        The exit code: 0 done, 2 the input was wrong, 3 a gate did not hold, 130
        interrupted, 1 anything else. What is wrong with the program itself is raised,
        and exits with 1.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        with _flushed():
            return _run(argv)
    except (ValueError, BackendError) as error:
        # An InputError, or what Keras and a loss raise where a model doesn't suit them.
        return _failed(f"error: {error}", 2)
    except WorkError as error:
        return _failed(f"error: {error}", 1)
    except BrokenPipeError:
        # Whoever reads has gone, as `head` does.
        return _failed("", 1)
    except OSError as error:
        told = [error.strerror or str(error), error.filename]
        return _failed("error: " + ": ".join(str(part) for part in told if part), 1)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)


def _run(argv: Sequence[str]) -> int:
    parser = _parser()
    completion.complete(parser)
    args = parser.parse_args(argv)
    args.argv = argv
    # On CPUs where TensorFlow leaves oneDNN off it makes these models 2 to 4 times
    # faster; it has to be set before TensorFlow is imported.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    noise.quiet_tensorflow()
    with quiet(args.quiet), in_options(**args.options):
        return args.run(args) or 0


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    """What has been printed is written, or fails, here and not when Python ends."""
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _failed(text: str, code: int) -> int:
    """Says why in one line, if it is given, and returns the exit code."""
    with contextlib.suppress(OSError):
        if text and sys.stderr is not None:
            print("keras-gce:", " ".join(text.split()), file=sys.stderr, flush=True)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Python would try once more at its end, and complain.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return code


def _parser() -> options.Parser:
    parser = options.Parser(
        prog="keras-gce",
        description="Train with guided complement entropy, and measure honestly "
        "whether it helped.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(title="commands", required=True)
    for command in COMMANDS:
        command.add(commands)
    for one in commands.choices.values():
        one.add_argument(
            "--quiet",
            action="store_true",
            help="no progress on stderr: only the result, and errors",
        )
        options.name_options(one)
    return parser

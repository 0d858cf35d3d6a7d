"""The error that means: the input is wrong, not the program."""

import importlib.util

__all__ = [
    "BackendError",
    "InputError",
    "WorkError",
    "check_installed",
    "faq",
    "one_line",
]

FAQ = "https://github.com/keras-gce/keras_gce/blob/main/docs/faq.md"


class InputError(ValueError):
    """Raised where the user's input is wrong: a file, a name, a value.

    Its message is one line that says what is required and what came. The command
    line prints that line on stderr, without a traceback, and exits with code 2;
    in Python it is caught as any `ValueError`.

    Example:

    >>> raise InputError("`n` must be an integer in [0, 10]. Received: n=11")
    Traceback (most recent call last):
    ...
    keras_gce.errors.InputError: `n` must be an integer in [0, 10]. Received: n=11
    """


class BackendError(ImportError):
    """Raised where Keras has no backend that the package runs on.

    Its message is one line that says what to install or to set. The command line prints
    it on stderr and exits with code 2.
    """


class WorkError(RuntimeError):
    """Raised where a piece of work that was spread over workers failed for good.

    Its message is one line that says which, why, and where what is finished is kept.
    The command line prints it on stderr and exits with code 1.
    """


def check_installed(what: str, extra: str, *packages: str) -> None:
    """Refuses before the work what would fail at its end.

    Args:
        what: What needs the packages, for the error.
        extra: The extra of this package that brings them.
        *packages: Names by which they are imported.

    Raises:
        InputError: If one is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} must have {' and '.join(packages)} installed: pip install "
            f'"keras_gce[{extra}]". Received: no {", ".join(missing)}'
        )


def one_line(error: BaseException, most: int = 500) -> str:
    """Returns an error of another library in one line, its kind first."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"


def faq(anchor: str) -> str:
    """Returns the end of a message whose matter takes more than a line to explain."""
    return f". See {FAQ}#{anchor}"

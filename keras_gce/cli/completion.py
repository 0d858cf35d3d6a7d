"""The shell completes commands, options and their values, through argcomplete."""

import argparse
import contextlib
import os
from typing import Any

from keras_gce import names
from keras_gce.cli import options

__all__ = ["complete"]


def complete(parser: options.Parser) -> None:
    """Answers a shell that asks how a line goes on, and ends the process then.

    Args:
        parser: The parser of all commands.
    """
    if "_ARGCOMPLETE" not in os.environ:
        return
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser, default_completer=_values)


def _values(
    prefix: str, action: argparse.Action, parser: argparse.ArgumentParser, **_: Any
) -> list[str]:
    """What may follow an option that has no choices: a file, unless we know better."""
    from argcomplete.completers import FilesCompleter

    if action.dest == "attacks":
        known = names.ATTACKS if parser.prog.endswith("evaluate") else ()
        before, comma, last = prefix.rpartition(",")
        return [
            before + comma + name
            for name in known or names.PAPER_ATTACKS
            if name.startswith(last)
        ]
    if action.type is not None:  # A number.
        return []
    files = list(FilesCompleter()(prefix))
    return [*names.DATASETS, *files] if action.dest == "dataset" else files

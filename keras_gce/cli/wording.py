"""The package's errors in the words of the command line."""

import contextlib
import re
from collections.abc import Iterator

from keras_gce.errors import InputError

__all__ = ["in_options"]


@contextlib.contextmanager
def in_options(**options: str) -> Iterator[None]:
    """Names the options in errors of a block, in place of the arguments.

    Args:
        **options: The argument's name -> what the user typed: `name="--dataset"`.

    Raises:
        InputError: The block's, in other words.
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        for argument, option in options.items():
            text = text.replace(f"`{argument}`", f"`{option}`")
            text = re.sub(rf"(?<=[ (]){argument}=", f"{option} ", text)
        raise InputError(text) from error

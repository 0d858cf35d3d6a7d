"""What commands share: the parser, the types of its options, and groups of options."""

import argparse
import fractions
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeAlias

from keras_gce import names
from keras_gce.errors import InputError

__all__ = [
    "Commands",
    "Parser",
    "add_command",
    "add_data_dir",
    "add_dtype_policy",
    "add_length",
    "add_overwrite",
    "add_recipe",
    "any_number",
    "count",
    "name_options",
    "names_among",
    "number",
    "numbers",
    "part",
    "percent",
    "positive",
    "seed",
]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of all input: one line, without the usage.

    Options have to be whole: the beginning of one may be another's in a later version.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises an `InputError`."""
        raise InputError(message)


# What a command is added to. argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    text: str,
) -> Parser:
    """Adds a command, and returns the parser for its options.

    Args:
        commands: What it is added to.
        name: Its name.
        run: The function of the parsed arguments that does its work, and returns the
            exit code, or `None` for 0.
        text: What it does, for the help.
    """
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=_Help
    )
    parser.set_defaults(run=run)
    return parser


def name_options(parser: Parser) -> None:
    """Keeps what each argument is called on the command line, for errors."""
    parser.set_defaults(
        options={
            action.dest: action.option_strings[-1]
            for action in parser._actions
            if action.option_strings
        }
    )


def add_data_dir(parser: Parser) -> None:
    """Adds the folder of the data."""
    parser.add_argument(
        "--data-dir",
        help="folder of TFDS or NAME.npz; without it TFDS_DATA_DIR or TFDS's own",
    )


def add_overwrite(parser: Parser) -> None:
    """Adds the leave to replace files that are none of this program."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="outputs may replace files of other kinds, but no input",
    )


def add_length(parser: Parser) -> None:
    """Adds the two that decide how long a training takes: network and epochs."""
    parser.add_argument(
        "--model",
        choices=names.NETWORKS,
        help="network; without it the paper's for the dataset",
    )
    parser.add_argument("--epochs", type=count, help="without it the paper's")


def add_recipe(parser: Parser) -> None:
    """Adds what else of a recipe may be another than the paper's."""
    add_length(parser)
    parser.add_argument("--batch-size", type=count, help="without it the paper's")
    parser.add_argument("--seed", type=seed, default=0, help="decides all randomness")


def add_dtype_policy(parser: Parser) -> None:
    """Adds the precision of the training."""
    parser.add_argument(
        "--dtype-policy",
        choices=names.DTYPE_POLICIES,
        help="of the training; what is saved and attacked is float32 all the same",
    )


def number(text: str) -> float:
    """A number >= 0: 0.25, or 1/4."""
    try:
        value = float(fractions.Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = -1.0
    if value < 0:
        raise argparse.ArgumentTypeError(
            f"must be a finite number >= 0, such as 0.3 or 1/3. Received: {text}"
        )
    return value


def positive(text: str) -> float:
    """A number > 0."""
    value = number(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be a number > 0. Received: {text}")
    return value


def numbers(text: str) -> list[float]:
    """Numbers >= 0, separated by commas."""
    given = _listed(text)
    if not given:
        raise argparse.ArgumentTypeError("must be numbers. Received: none")
    try:
        return [number(each) for each in given]
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"each {error}") from error


def percent(text: str) -> float:
    """A number in [0, 100]: 40, or 40%; below 1 with its sign, so that none is 1/3."""
    given = text.strip()
    try:
        value = float(given.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100 or (0 < value < 1 and not given.endswith("%")):
        hint = f"; {given}% for less than one" if 0 < value < 1 else ""
        raise argparse.ArgumentTypeError(
            f"must be a percentage in [0, 100], such as 40. Received: {text}{hint}"
        )
    return value


def part(text: str) -> tuple[int, int]:
    """The I-th of N parts, I/N: 2/7."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(
            f"must be I/N, the I-th of N parts, such as 2/7. Received: {text}"
        )
    return int(number), int(of)


def any_number(text: str) -> float:
    """A number of either sign."""
    try:
        return float(fractions.Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"must be a finite number. Received: {text}"
        ) from error


def count(text: str) -> int:
    """An integer >= 1."""
    return _integer(text, 1)


def seed(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"must be an integer >= {least}. Received: {text}"
        )
    return int(text)


def names_among(known: Collection[str]) -> Callable[[str], list[str]]:
    """Returns the type of an option for some of the known names: fgsm,pgd.

    Capitals, spaces, a hyphen in a name and a comma at the end are understood.
    """
    plain = {_plain(name): name for name in known}

    def some(text: str) -> list[str]:
        given = _listed(text)
        for name in given:
            if _plain(name) not in plain:
                raise argparse.ArgumentTypeError(
                    f"must be among {', '.join(known)}. Received: {name}"
                )
        if not given:
            raise argparse.ArgumentTypeError(
                f"must be among {', '.join(known)}. Received: none"
            )
        return list(dict.fromkeys(plain[_plain(name)] for name in given))

    return some


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _listed(text: str) -> list[str]:
    """What is separated by commas, or spaces."""
    return text.replace(",", " ").split()

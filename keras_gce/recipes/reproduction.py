"""`Reproduction`: a table or a figure of the paper, made again: records and views."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_gce import files
from keras_gce.errors import InputError

__all__ = [
    "LOSS_NAMES",
    "Figure",
    "Reproduction",
    "markdown_table",
    "mean",
    "reproduction_folder",
]

# As tables and figures print them.
LOSS_NAMES = {
    "crossentropy": "cross-entropy",
    "cot": "COT",
    "guided_complement_entropy": "GCE (alpha 1/3)",
}
# How wide a picture is. Readers see it half as wide.
PIXELS = 1400


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reproduction:
    """What a table or a figure of the paper came to here.

    `print` shows it as Markdown, and `"| PGD |" in reproduction` looks there.

    Args:
        name: Its name, such as `"table3"`.
    """

    name: str

    def to_markdown(self) -> str:
        """Returns it as Markdown: what the `.md` holds."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Returns its numbers: what the `.json` holds."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.to_markdown()

    def __contains__(self, text: str) -> bool:
        return text in self.to_markdown()

    def write(self, folder: pathlib.Path) -> None:
        """Writes the views into a folder, as files of its name."""
        numbers = json.dumps(self.to_dict(), indent=2) + "\n"
        files.write_text(folder / f"{self.name}.md", self.to_markdown())
        files.write_text(folder / f"{self.name}.json", numbers)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Figure(Reproduction):
    """A figure, and the numbers that it only suggests.

    Args:
        name: `"figure1"`, `"figure2"`, `"figure3"`, `"figure4"`, or that of an
            experiment, such as `"outer_loss"`.
        caption: What it is of.
        columns: Heads of the table beside it.
        rows: Its rows, text.
        numbers: What `to_dict` returns: the figures of the table, unrounded.
        picture: The `matplotlib.figure.Figure`.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: dict[str, Any] | list[dict[str, Any]]
    picture: Any

    def to_markdown(self) -> str:
        """Returns caption, table and a link to the picture, as Markdown."""
        table = markdown_table(self.columns, self.rows)
        picture = f"![{self.name}]({self.name}.png)"
        return "\n".join([self.caption, "", *table, "", picture]) + "\n"

    def to_dict(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Returns its numbers: what the `.json` holds."""
        return self.numbers

    def write(self, folder: pathlib.Path) -> None:
        """Writes the picture and the views into a folder, as files of its name."""
        buffer = io.BytesIO()
        dpi = PIXELS / self.picture.get_size_inches()[0]
        self.picture.savefig(buffer, format="png", dpi=dpi)
        files.write_bytes(folder / f"{self.name}.png", buffer.getvalue())
        super().write(folder)


def reproduction_folder(path: files.PathLike, name: str) -> pathlib.Path:
    """Returns the folder for a table or a figure, found to be writable.

    Raises:
        InputError: If it can't be written, or has something else by the name.
    """
    folder = files.output_folder(path)
    views = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "png")]
    there = [view for view in views if view.exists()]
    # Written together: a text or a picture alone is not from here.
    if there and not all(view.is_file() for view in views[:2]):
        raise InputError(
            f"`output` must be a folder without another {name}. Received: {there[0]}, "
            "which is not of an earlier run"
        )
    return folder


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return [lines[0], "|---" * len(columns) + "|", *lines[1:]]


def mean(values: Sequence[float]) -> str:
    """The mean over the seeds, and the standard deviation where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"

"""What broke each image."""

import dataclasses
import zipfile
from collections.abc import Sequence

import numpy as np

from keras_gce.errors import InputError, one_line
from keras_gce.evaluation.results import AttackResult
from keras_gce.evaluation.run import Outcome
from keras_gce.files import PathLike, replacing

__all__ = ["AdversarialExamples", "adversarial_examples"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AdversarialExamples:
    """One adversarial example for each image that was broken, and what made it.

    Of several attacks that break an image the first in the order of the rows counts.
    Attacks without a radius count only where none has one, as in the worst case.

    Args:
        index: Integers of shape `(M,)`: which of the examples each is of.
        x_adv: The adversarial examples, of shape `(M, ...)`, in units of the images.
        y: Integers of shape `(M,)`, the classes.
        predicted: Integers of shape `(M,)`: the classes that the model gives them.
        attack: Array of text of shape `(M,)`: the attack, such as "PGD".
        loss: Array of text of shape `(M,)`: what it ascended; "" for its own.
        eps: Floats of shape `(M,)`: its radius; NaN for none.
        row: Integers of shape `(M,)`: which of the report's results it is.
    """

    index: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    predicted: np.ndarray
    attack: np.ndarray
    loss: np.ndarray
    eps: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def save(self, path: PathLike) -> None:
        """Writes an `.npz` with these arrays, by their names."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: PathLike) -> "AdversarialExamples":
        """Reads what `save` wrote.

        Raises:
            InputError: If it is no such file, whole.
        """
        try:
            with np.load(path) as arrays:
                return cls(**arrays)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                "`path` must be a file of adversarial examples. "
                f"Received: {path} ({one_line(error, 200)})"
            ) from error


def adversarial_examples(
    outcomes: Sequence[Outcome],
    results: Sequence[AttackResult],
    x: np.ndarray,
    y: np.ndarray,
) -> AdversarialExamples:
    """Returns what broke each image, of outcomes that kept it; see `run_plan`."""
    has_radius = any(result.eps is not None for result in results)
    # Of each image broken: the row, the example, its class.
    found: dict[int, tuple[int, np.ndarray, int]] = {}
    for row, (outcome, result) in enumerate(zip(outcomes, results, strict=True)):
        if has_radius and result.eps is None:
            continue
        for part in outcome.batches:
            index = part["index"][part["shown"]]
            # A row that repeats another one shows none of its examples.
            for i, x_adv, after in zip(
                index, part["shown_x"], part["shown_class"], strict=False
            ):
                found.setdefault(int(i), (row, x_adv, int(after)))
    order = sorted(found)
    rows = [found[i][0] for i in order]
    made_by = [results[row] for row in rows]
    return AdversarialExamples(
        index=np.array(order, "int64"),
        x_adv=np.array([found[i][1] for i in order], "float32").reshape(
            -1, *x.shape[1:]
        ),
        y=y[order],
        predicted=np.array([found[i][2] for i in order], "int64"),
        attack=np.array([result.name for result in made_by], "str"),
        loss=np.array([result.loss or "" for result in made_by], "str"),
        eps=np.array([np.nan if r.eps is None else r.eps for r in made_by], "float64"),
        row=np.array(rows, "int64"),
    )

"""`distances`: the least distance that breaks each example."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_gce.attacks import FMN
from keras_gce.attacks.base import Attack
from keras_gce.checks import check_number
from keras_gce.classifier import Classifier
from keras_gce.evaluation.checkpoint import Checkpoint
from keras_gce.evaluation.door import at_the_door, digest_of
from keras_gce.evaluation.record import arrays_of
from keras_gce.evaluation.results import Curve, Flag
from keras_gce.evaluation.run import Outcome, run_plan
from keras_gce.evaluation.sanity import sanity_checks
from keras_gce.evaluation.start import first_look
from keras_gce.files import PathLike
from keras_gce.per_feature import Bounds

__all__ = ["Distances", "distances"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Distances:
    """What `distances` returns: how far it is to the nearest error that was found.

    Args:
        model: Name of the model.
        attacks: List of the attacks' names.
        norm: The norm of the distances: `"linf"`, `"l2"` or `"l1"`.
        values: Floats of shape `(N,)`, in units of the images: of each example the
            least distance at which an attack broke it; 0 where it is wrong without an
            attack, infinite where none broke it. A nearer error may exist.
        checks: List of `Flag`: signs that the values are too high, or mean nothing,
            raised or not.
    """

    model: str
    attacks: list[str]
    norm: str
    values: np.ndarray
    checks: list[Flag] = dataclasses.field(default_factory=list)

    @property
    def flags(self) -> list[Flag]:
        """The checks that are raised."""
        return [check for check in self.checks if check.raised]

    @property
    def median(self) -> float:
        """The median distance of all examples: there half of them are lost.

        Those that are wrong without an attack count, as 0, and those that none broke,
        as infinite, as in Schott et al., ICLR 2019 (arXiv 1805.09190).
        """
        return float(np.median(self.values))

    @property
    def clean_accuracy(self) -> float:
        """Share of the examples that is right before any attack."""
        return float((self.values > 0).mean())

    def curve(self, eps: Iterable[float] | None = None) -> Curve:
        """Returns the accuracy against eps: the share that is broken only further away.

        Args:
            eps: Radii, each >= 0, in units of the images; 0 is added. Defaults to
                `None`: each distance at which an example falls, so that nothing
                happens between two of them.

        Raises:
            InputError: If a radius is not as described.
        """
        radii = self.values[np.isfinite(self.values)] if eps is None else list(eps)
        for radius in radii:
            check_number("eps", radius, least=0)
        radii = sorted({0.0, *map(float, radii)})
        count = len(self.values)
        left = count - np.searchsorted(np.sort(self.values), radii, side="right")
        return Curve(
            threat_model="least distance",
            attack=self._names,
            norm=self.norm,
            eps=radii,
            accuracy=[float(share) for share in left / count],
            n_examples=count,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as what JSON can hold; infinite values are `None`."""

        def finite(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            "model": self.model,
            "attacks": self.attacks,
            "norm": self.norm,
            "n_examples": len(self.values),
            "clean_accuracy": self.clean_accuracy,
            "median": finite(self.median),
            "values": [finite(value) for value in self.values],
            "flags": [flag.name for flag in self.flags],
        }

    def to_markdown(self) -> str:
        """Returns the median, the quartiles and the flags as a short text."""
        # Not interpolated, where one of two may be infinite.
        first, third = np.quantile(self.values, (0.25, 0.75), method="inverted_cdf")
        left = int(np.isinf(self.values).sum())
        lines = [
            f"{self.model}: median {self.norm} distance {self.median:.4g} (quartiles "
            f"{first:.4g} and {third:.4g}), {len(self.values)} examples, clean "
            f"accuracy {100 * self.clean_accuracy:.2f}%, {left} not broken, by "
            f"{self._names}. "
            f"Flags: {', '.join(flag.name for flag in self.flags) or 'none'}.",
            *(f"- Flag {flag.name}: {flag.message}" for flag in self.flags),
        ]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()

    @property
    def _names(self) -> str:
        return ", ".join(self.attacks)


def distances(
    model: keras.Model | Classifier,
    data: Any,
    norm: str = "linf",
    attacks: Attack | Sequence[Attack] | None = None,
    batch_size: int = 500,
    checkpoint: PathLike | None = None,
    progress: bool = True,
    bounds: Bounds | None = None,
) -> Distances:
    """Looks for the least distance that breaks each example.

    Of several attacks the nearest success counts. What is measured is the distance of
    the image that broke the example, so that the true one is at most that. It is an
    attack's figure: gradients that are masked make it too high, as they do a robust
    accuracy; `evaluate` looks for their signs.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.set_weights([np.array([[1.0, 0.0]] * 4), np.array([-2.0, 0.0])])
    >>> x, y = np.array([[0.6] * 4, [0.4] * 4], "float32"), np.array([0, 0])
    >>> found = distances(model, (x, y), norm="l2", progress=False)
    >>> found.values.round(3), round(found.median, 3)
    (array([0.2, 0. ]), 0.1)
    >>> found.curve([0.1, 0.3]).accuracy
    [0.5, 0.5, 0.0]

    Args:
        model: A built `keras.Model`; see `keras_gce.classifier.Classifier`.
        data: Images and labels, as for `evaluate`.
        norm: `"linf"`, `"l2"` or `"l1"`: in which distance is measured. Defaults to
            `"linf"`.
        attacks: One attack, or a list of attacks, such as `FMN(norm="l2", steps=1000)`
            and `CarliniWagnerL2(target=None)`. Defaults to `None`: FMN in `norm`.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.
        checkpoint: Path of a folder where finished batches are kept; the same call
            continues there. Defaults to `None`.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.
        bounds: The least and the greatest value of a pixel, such as (0, 255), for all
            attacks, in whose unit the distances then are; a `Split`'s images are
            brought there. Defaults to `None`: each attack's own.

    Returns:
        A `Distances`.

    Raises:
        InputError: If an argument is not as described.
    """
    nearest = FMN(norm=norm)  # Refuses what is no norm.
    given = nearest if attacks is None else attacks
    task = at_the_door(model, data, given, None, batch_size, False, bounds)
    classifier, x, y = task.classifier, task.x, task.y
    saved = Checkpoint(checkpoint, digest_of(task)) if checkpoint else None
    look = first_look(classifier, task.plan, x, y, batch_size, progress)
    outcomes = run_plan(
        *(look.plan, classifier, x, y, look.clean, batch_size, saved, progress)
    )
    rows = [arrays_of(outcome, slice(None)) for outcome in outcomes]
    first = sanity_checks(classifier, x, y, look.z, rows, look.plan)
    names = [row.attack.name for row in look.plan.rows]
    return Distances(
        model=classifier.name,
        attacks=list(dict.fromkeys(names)),
        norm=norm,
        values=_least(outcomes, look.clean, norm),
        checks=first + look.checks,
    )


def _least(outcomes: Sequence[Outcome], clean: np.ndarray, norm: str) -> np.ndarray:
    values = np.where(clean, np.inf, 0.0)
    for outcome in outcomes:
        broken = ~outcome.column("right", bool)
        index = outcome.column("index", int)[broken]
        away = outcome.column(norm)[broken].astype("float64")
        values[index] = np.minimum(values[index], away)
    return values

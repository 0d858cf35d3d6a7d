"""The attacks of a plan, run on examples in stretches of their places."""

import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier, batches, is_finite, is_right
from keras_gce.evaluation.checkpoint import Checkpoint
from keras_gce.evaluation.gallery import SIZE
from keras_gce.evaluation.plan import Plan, Row
from keras_gce.progress import bar

__all__ = ["Outcome", "run_plan"]

# The share of an attack's passes until an example that it breaks leaves it.
EARLY = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a row of a plan did.

    Args:
        robust: Boolean array: which of all examples are right before and after it.
        batches: List of dicts of arrays, one for each batch of attacked examples, in
            the order of their places; "index" is these.
    """

    robust: np.ndarray
    batches: list[dict[str, np.ndarray]]

    def column(self, name: str, kind: type = float) -> np.ndarray:
        """Returns what all batches have by a name, as one array."""
        parts = [batch[name] for batch in self.batches]
        return np.concatenate(parts or [np.zeros(0, kind)])

    @property
    def seconds(self) -> float:
        """The time that the attack took."""
        return float(sum(batch["seconds"] for batch in self.batches))


def run_plan(
    plan: Plan,
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    clean: np.ndarray,
    batch_size: int = 500,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
    keep: bool = False,
) -> list[Outcome]:
    """Runs the attacks of a plan on the examples that are right.

    A batch is what is to be attacked of a stretch of `batch_size` places, whose number
    decides its seed: what one gives depends on nothing outside of it, and a part of the
    stretches gives the same as all do there.

    Args:
        plan: A `Plan`.
        classifier: The `Classifier` of the model.
        x: Checked images of shape `(N, ...)`.
        y: Their classes, of shape `(N,)`.
        clean: Boolean array: which are right before, and to be attacked.
        batch_size: Most images attacked at once. Defaults to 500.
        checkpoint: A `Checkpoint` of finished batches. Defaults to `None`.
        progress: Whether to show a progress bar on stderr. Defaults to `False`.
        keep: Whether to keep of each image what first broke it, rather than a few
            examples to show. Defaults to `False`.

    Returns:
        List of `Outcome`, one for each row.
    """
    outcomes: list[Outcome] = []
    # Whose adversarial examples need not be kept: of an attack without a radius none,
    # where others have one.
    kept = np.full(len(x), not keep)
    has_radius = any(row.attack.eps is not None for row in plan.rows)
    left: dict[int | None, np.ndarray] = {}
    effort = _Effort(plan, x[:1].size, classifier.num_classes, clean)
    with bar("attacking", effort.ahead(0, left), progress) as advance:
        for number, row in enumerate(plan.rows):
            if row.same_as is not None:
                same = outcomes[row.same_as]
                # Neither its time nor its pictures count twice.
                parts = [
                    {**part, "seconds": np.array(0.0), "shown": part["shown"][:0]}
                    for part in same.batches
                ]
                outcomes.append(Outcome(robust=same.robust, batches=parts))
                continue
            before = left.get(row.group, clean)
            counts = row.attack.eps is not None or not has_radius
            robust, parts, todo = np.zeros(len(x), bool), [], before.copy()
            name = f"attack {number + 1}/{len(plan.rows)}, {_name(row)}"
            count = int(before.sum())
            for batch, index in _stretches(before, batch_size):
                part = None
                if checkpoint:
                    beside = classifier.nan_gradients
                    part = checkpoint.load(number, batch, index, beside)
                wanted, made = ~kept[index] & counts, 0.0
                if part is None or not _holds(part, wanted):
                    counted = f"{count - int(todo.sum())}/{count} images"
                    advance(0, name, counted, effort.ahead(number, left, todo))
                    part = _attack(
                        row.attack,
                        classifier,
                        x[index],
                        y[index],
                        batch,
                        batch_size,
                        wanted,
                    )
                    part["index"] = index
                    made = effort.of(number, part["right"])
                    if checkpoint:
                        checkpoint.save(number, batch, part)
                robust[index], todo[index] = part["right"], False
                kept[index[part["shown"]]] |= counts
                parts.append(part)
                counted = f"{count - int(todo.sum())}/{count} images"
                advance(made, name, counted, effort.ahead(number, left, todo))
            if row.group is not None:
                left[row.group] = robust
            effort.learn(row, robust | ~before)
            outcomes.append(Outcome(robust=robust, batches=parts))
    return outcomes


def _stretches(images: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each stretch of places, and those of images that lie there."""
    for number, places in enumerate(batches(np.arange(len(images)), size)):
        index = places[images[places]]
        if len(index):
            yield number, index


def _name(row: Row) -> str:
    loss = row.attack.loss
    return f"{row.attack.name} {loss}" if isinstance(loss, str) else row.attack.name


class _Effort:
    """How many passes of the model the rows of a plan take, as far as can be told."""

    def __init__(
        self, plan: Plan, features: int, num_classes: int, clean: np.ndarray
    ) -> None:
        self.rows, self.clean, self.hard = plan.rows, clean, clean
        # A row that runs the very same as another one costs nothing.
        self.passes = [
            0.0 if row.same_as is not None else row.attack.passes(features, num_classes)
            for row in plan.rows
        ]

    def of(self, number: int, right: np.ndarray) -> float:
        """What a row has taken for examples that are right after it, or not."""
        return self._passes(number, int(right.sum()), len(right))

    def ahead(
        self,
        number: int,
        left: dict[int | None, np.ndarray],
        todo: np.ndarray | None = None,
    ) -> float:
        """What is left: of a row the examples `todo`, and all rows after it."""
        total = 0.0
        for i, row in enumerate(self.rows[number:], number):
            images = left.get(row.group, self.clean)
            if i == number and todo is not None:
                images = todo
            hard = int((images & self.hard).sum())
            total += self._passes(i, hard, int(images.sum()))
        return total

    def learn(self, row: Row, robust: np.ndarray) -> None:
        """Takes those that a row within a radius broke for easy ones."""
        if row.attack.eps is not None:
            self.hard = self.hard & robust

    def _passes(self, number: int, hard: int, count: int) -> float:
        soon = EARLY if self.rows[number].attack.ends_at_success else 1.0
        return self.passes[number] * (hard + soon * (count - hard))


def _attack(
    attack: Attack,
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    batch: int,
    batch_size: int,
    wanted: np.ndarray,
) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    # Apart from each other, so that seeds 0 and 1 share no batch.
    seed = ((attack.seed or 0) * 1_000_003 + batch * 7919) % 2**31
    x_adv, queries = attack.counted(classifier, x, y, seed=seed, stop_early=True)
    x_adv = np.asarray(x_adv)
    seconds = time.perf_counter() - start
    delta = (x_adv - x).reshape(len(x), -1)
    targets = attack.targets(classifier, x, y, seed)
    z = classifier.predict(x_adv, batch_size)
    classes, finite, right = z.argmax(-1), is_finite(z), is_right(z, y)
    # The first few, for the gallery.
    shown = np.flatnonzero(~right & (wanted | (np.cumsum(~right) <= SIZE)))
    return {
        "right": right,
        "finite": finite,
        "shown": shown,
        "shown_x": x_adv[shown],
        "shown_class": classes[shown],
        "reached": ~right if targets is None else (classes == targets) & finite,
        "l0": np.count_nonzero(delta, axis=1),
        "l1": np.abs(delta).sum(axis=1, dtype="float64"),
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "queries": np.zeros(len(x), int) if queries is None else np.asarray(queries),
        "seconds": np.array(seconds),
        "beside": np.array(classifier.nan_gradients),
    }


def _holds(part: dict[str, np.ndarray], wanted: np.ndarray) -> bool:
    """Whether a finished batch has what broke its images, of those that want it."""
    broken = np.flatnonzero(~part["right"] & wanted)
    return bool(np.isin(broken, part["shown"]).all())

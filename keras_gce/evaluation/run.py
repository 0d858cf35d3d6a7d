"""The attacks of a plan, run on all examples."""

import dataclasses
import time

import numpy as np

from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier, batches, is_finite, is_right
from keras_gce.evaluation.checkpoint import Checkpoint
from keras_gce.evaluation.gallery import SIZE
from keras_gce.evaluation.plan import Plan
from keras_gce.progress import bar

__all__ = ["Outcome", "run_plan"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a row of a plan did.

    Args:
        robust: Boolean array: which of all examples are right before and after it.
        batches: List of dicts of arrays, one for each batch of attacked examples.
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

    Args:
        plan: A `Plan`.
        classifier: The `Classifier` of the model.
        x: Checked images of shape `(N, ...)`.
        y: Their classes, of shape `(N,)`.
        clean: Boolean array: which are right before.
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
    count = int(clean.sum())
    with bar("attacking", len(plan.rows) * count, progress) as advance:
        for number, row in enumerate(plan.rows):
            if row.same_as is not None:
                same = outcomes[row.same_as]
                # Neither its time nor its pictures count twice.
                parts = [
                    {**part, "seconds": np.array(0.0), "shown": part["shown"][:0]}
                    for part in same.batches
                ]
                outcomes.append(Outcome(robust=same.robust, batches=parts))
                advance(count, row.attack.name)
                continue
            before = left.get(row.group, clean)
            counts = row.attack.eps is not None or not has_radius
            robust, parts = np.zeros(len(x), bool), []
            for batch, index in enumerate(batches(np.flatnonzero(before), batch_size)):
                part = checkpoint.load(number, batch, index) if checkpoint else None
                wanted = ~kept[index] & counts
                if part is None or not _holds(part, wanted):
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
                    if checkpoint:
                        checkpoint.save(number, batch, part)
                robust[index] = part["right"]
                kept[index[part["shown"]]] |= counts
                parts.append(part)
                advance(len(index), row.attack.name)
            if row.group is not None:
                left[row.group] = robust
            outcomes.append(Outcome(robust=robust, batches=parts))
            advance(count - int(before.sum()), row.attack.name)
    return outcomes


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
    x_adv = np.asarray(attack.run(classifier, x, y, seed=seed, stop_early=True))
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
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "seconds": np.array(seconds),
    }


def _holds(part: dict[str, np.ndarray], wanted: np.ndarray) -> bool:
    """Whether a finished batch has what broke its images, of those that want it."""
    broken = np.flatnonzero(~part["right"] & wanted)
    return bool(np.isin(broken, part["shown"]).all())

"""`evaluate_on_ray`: an evaluation in parts, on the workers of a Ray cluster."""

import dataclasses
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_gce import files
from keras_gce.attacks.base import Attack
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError, WorkError
from keras_gce.evaluation.adversarial import AdversarialExamples
from keras_gce.evaluation.checkpoint import META, Checkpoint
from keras_gce.evaluation.door import Task, at_the_door, digest_of
from keras_gce.evaluation.evaluator import evaluated
from keras_gce.evaluation.merging import merge
from keras_gce.evaluation.parcel import pack, unpack
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.per_feature import Bounds
from keras_gce.progress import say
from keras_gce.workers import check_workers, spread

__all__ = ["evaluate_on_ray"]

# So many parts at most: each is a file, and a report to merge.
MOST_PARTS = 500
# In a worker: the task that it is at, by its digest.
_TASKS: dict[str, Task] = {}


def evaluate_on_ray(
    model: keras.Model | Classifier,
    data: Any,
    attacks: Attack | Sequence[Attack],
    workers: int | None = None,
    address: str | None = None,
    *,
    threat_model: str | None = "adaptive",
    batch_size: int = 500,
    checkpoint: files.PathLike | None = None,
    progress: bool = True,
    worst_case_only: bool = False,
    diagnostics: bool = True,
    bounds: Bounds | None = None,
    keep_adversarial: bool = False,
) -> RobustnessReport:
    """Attacks a model on several devices at once: `evaluate` in parts, merged.

    Each worker is a process with a Keras backend of its own, on a GPU of its own where
    there are any, else on its share of the cores. A part whose worker dies, or that
    fails, is begun again, three times at most. Needs the extra `ray`.

    Args:
        model: The model; see `evaluate`. It has to be one that can be saved as
            `.keras`. The code of its own layers goes along.
        data: Images and labels; see `evaluate`.
        attacks: One attack, or a list of attacks.
        workers: How many parts are attacked at once, >= 1. Defaults to `None`: one for
            each GPU of the cluster, or, where there is none, for each core.
        address: That of a Ray cluster to join, such as `"10.0.0.1:6379"` or `"auto"`;
            keras_gce of this version has to be installed there. Defaults to `None`: the
            cluster to which this process is connected, or else this machine alone,
            where Ray is started, and stopped at the end.
        threat_model: See `evaluate`. Defaults to `"adaptive"`.
        batch_size: See `evaluate`. Defaults to 500.
        checkpoint: Path of a folder where finished parts are kept, and finished batches
            where the workers' machines have the folder too; the same call continues
            there, with another number of workers too, and so does `evaluate`.
            Defaults to `None`: a folder for temporary files, which is left, and named,
            where the work fails.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.
        worst_case_only: See `evaluate`. Defaults to `False`.
        diagnostics: See `evaluate`; of part 1. Defaults to `True`.
        bounds: See `evaluate`. Defaults to `None`.
        keep_adversarial: See `evaluate`. Defaults to `False`.

    Returns:
        A `RobustnessReport`: what `evaluate` returns for the same `batch_size`, but for
        what `merge` says of parts. Its `setup` has the number of parts.

    Raises:
        InputError: If an argument is not as described, or Ray is not installed.
        WorkError: If a part failed three times; it says where the finished ones are.
    """
    check_workers(workers, address)
    task = at_the_door(
        model, data, attacks, threat_model, batch_size, worst_case_only, bounds
    )
    given = checkpoint or tempfile.mkdtemp(prefix="keras_gce-evaluation-")
    digest = digest_of(task)
    Checkpoint(given, digest)
    parts = _Parts(
        folder=pathlib.Path(given).absolute(),
        digest=digest,
        of=min(-(-len(task.x) // task.batch_size), MOST_PARTS),
        diagnostics=diagnostics,
        keep_adversarial=keep_adversarial,
    )
    try:
        reports = _all_parts(task, parts, workers, address, progress)
    except BaseException as error:
        if checkpoint is None and not parts.kept:
            shutil.rmtree(given)
        elif isinstance(error, WorkError):
            raise WorkError(f"{error}; {parts.words}") from error
        else:
            say(parts.words, progress)
        raise
    if checkpoint is None:
        shutil.rmtree(given)
    report = merge(reports)
    told = {"parts": f"{parts.of}, on workers of Ray"}
    return dataclasses.replace(report, setup=report.setup | told)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parts:
    """The files of finished parts, in the folder of the finished batches.

    Args:
        folder: The folder.
        digest: The task's digest.
        of: How many parts there are.
        diagnostics: See `evaluate`.
        keep_adversarial: See `evaluate`.
    """

    folder: pathlib.Path
    digest: str
    of: int
    diagnostics: bool
    keep_adversarial: bool

    def load(self, number: int, known: tuple[bool, bool]) -> RobustnessReport | None:
        """Returns a finished part; `None` where its file is missing or damaged."""
        path = self._path(number, known)
        try:
            report = RobustnessReport.from_json(path.read_text())
            if report.part is None or report.part.fingerprint != self.digest:
                return None
            if not self.keep_adversarial:
                return report
            examples = AdversarialExamples.load(path.with_suffix(".npz"))
        except (OSError, ValueError, InputError):
            return None
        return dataclasses.replace(report, adversarial=examples)

    def save(
        self, number: int, known: tuple[bool, bool], report: RobustnessReport
    ) -> None:
        path = self._path(number, known)
        if report.adversarial is not None:
            report.adversarial.save(path.with_suffix(".npz"))
        files.write_text(path, report.to_json())

    @property
    def kept(self) -> bool:
        """Whether the folder has finished parts or batches."""
        return any(path.name != META for path in self.folder.iterdir())

    @property
    def words(self) -> str:
        """What is finished, and where."""
        count = sum(self.load(n, (False, False)) is not None for n in self.numbers)
        return (
            f"{count} of {self.of} parts are finished, and kept with finished batches "
            f"in {self.folder}: the same call with it as `checkpoint` continues there"
        )

    @property
    def numbers(self) -> range:
        """The numbers of the parts."""
        return range(1, self.of + 1)

    def _path(self, number: int, known: tuple[bool, bool]) -> pathlib.Path:
        """Its name tells what may differ between two calls for the same task."""
        name = f"part{number:03}of{self.of:03}"
        name += "-diagnosed" * (self.diagnostics and number == 1)
        name += "-examples" * self.keep_adversarial
        name += "-beside" * known[0] + "-black-box" * known[1]
        return self.folder / f"{name}.json"


def _all_parts(
    task: Task,
    parts: _Parts,
    workers: int | None,
    address: str | None,
    progress: bool,
) -> list[RobustnessReport]:
    """Returns the reports of all parts, of which those that are missing are made."""

    def made(
        numbers: Iterable[int], known: tuple[bool, bool]
    ) -> dict[int, RobustnessReport]:
        found = {number: parts.load(number, known) for number in numbers}
        reports = {n: report for n, report in found.items() if report is not None}
        pieces = {
            f"part {number} of {parts.of}": (number, known)
            for number in found
            if number not in reports
        }
        if pieces:
            shared = _shared(task, parts)
            results = spread(_part, shared, pieces, workers, address, progress)
            for name, report in results:
                number, _ = pieces[name]
                parts.save(number, known, report)
                reports[number] = report
        return reports

    reports = made(parts.numbers, (False, False))
    # What gradients are like in one part decides what is run in all, as it does where
    # all is run in one piece.
    found = {number: _known(task, report) for number, report in reports.items()}
    whole = any(nan for nan, _ in found.values()), any(no for _, no in found.values())
    others = [number for number, one in found.items() if one != whole]
    reports |= made(others, whole)
    return list(reports.values())


def _known(task: Task, report: RobustnessReport) -> tuple[bool, bool]:
    """What is known of a part's gradients; see `evaluated`."""
    gradients = report.part.gradients if report.part else {}
    nan = any(count for _, count in gradients.values())
    return nan, len(report.results) > len(task.plan.rows)


def _shared(task: Task, parts: _Parts) -> tuple[Any, ...]:
    packed = np.frombuffer(pack(task.classifier, task.plan), "uint8")
    settings = {"batch_size": task.batch_size, "data": task.data}
    return packed, task.x, task.y, settings, parts


def _part(
    packed: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    settings: dict[str, Any],
    parts: _Parts,
    number: int,
    known: tuple[bool, bool],
) -> RobustnessReport:
    """Runs in a worker: attacks a part."""
    task = _TASKS.get(parts.digest)
    if task is None:  # Else it was here before, and its programs are compiled.
        classifier, plan = unpack(packed.tobytes())
        task = Task(classifier=classifier, plan=plan, x=x, y=y, **settings)
        _TASKS.clear()
        _TASKS[parts.digest] = task
    # The folder, where this machine has it too.
    there = (parts.folder / META).is_file()
    return evaluated(
        task,
        parts.digest,
        (number, parts.of),
        parts.folder if there else None,
        progress=True,
        diagnostics=parts.diagnostics,
        keep_adversarial=parts.keep_adversarial,
        known=known,
    )

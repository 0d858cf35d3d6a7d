"""Finished batches of an evaluation in a folder, so that a killed one continues."""

import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np

from keras_gce import files
from keras_gce.errors import InputError

__all__ = ["Checkpoint"]

# Counts what a finished batch holds. 4: its examples' indices; the fingerprint knows
# the training loss. 5: a batch is of a stretch of places. 6: it has l1 distances, and
# tells whether gradients were taken beside places where they are not finite. 7: it
# counts queries.
FORMAT = 7
META = "evaluation.json"


class Checkpoint:
    """A folder of finished batches.

    Args:
        folder: Path of the folder, made where it is missing.
        digest: The fingerprint of the evaluation: model, loss, data and settings.

    Raises:
        InputError: If the folder can't be written, holds something else, or is another
            evaluation's, or that of an older version.
    """

    def __init__(self, folder: files.PathLike, digest: str) -> None:
        self._folder = files.work_folder(folder, META, "checkpoint")
        meta = self._folder / META
        wanted = {"format": FORMAT, "fingerprint": digest}
        if not meta.exists():
            files.write_text(meta, json.dumps(wanted) + "\n")
            return
        try:
            found = dict(json.loads(meta.read_text()))
        except (ValueError, TypeError):
            found = {}
        if found.get("format") != FORMAT:
            raise InputError(
                "`checkpoint` must be a new folder, or one of this version of "
                f"keras_gce. Received: checkpoint={folder}, of another version "
                f"(format {found.get('format', 'below 4')}; this one has {FORMAT})"
            )
        if found != wanted:
            raise InputError(
                "`checkpoint` must be a new folder, or one of an evaluation of the "
                "same model, training loss, data, attacks and settings. "
                f"Received: checkpoint={folder}, of another evaluation"
            )

    def load(
        self, row: int, batch: int, index: np.ndarray, beside: bool
    ) -> dict[str, np.ndarray] | None:
        """Returns the arrays of a finished batch of these examples, or `None`.

        Args:
            row: The number of its row.
            batch: Its number.
            index: The examples.
            beside: Whether gradients are taken beside places where they are not
                finite: then another attack was run.
        """
        try:
            with np.load(self._path(row, batch)) as arrays:
                part = dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        # Predictions that lie on a border may change with the machine.
        same = np.array_equal(part["index"], index) and part["beside"] == beside
        return part if same else None

    def save(self, row: int, batch: int, arrays: dict[str, Any]) -> None:
        """Keeps the arrays of a finished batch."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        files.write_bytes(self._path(row, batch), buffer.getvalue())

    def _path(self, row: int, batch: int) -> pathlib.Path:
        return self._folder / f"row{row:03}_batch{batch:05}.npz"

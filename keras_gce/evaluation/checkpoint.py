"""Finished batches of an evaluation in a folder, so that a killed one continues."""

import hashlib
import io
import json
import zipfile

import numpy as np

from keras_gce import files
from keras_gce.errors import InputError

__all__ = ["Checkpoint", "fingerprint"]


def fingerprint(model, x, y, settings):
    """Returns a digest of the model's weights, if any, the data and the settings."""
    digest = hashlib.sha256()
    for array in (*(model.get_weights() if model else ()), x, y):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


class Checkpoint:
    """A folder of finished batches.

    Args:
        folder: Path of the folder, made where it is missing.
        digest: What `fingerprint` returned for this evaluation.

    Raises:
        InputError: If the folder can't be written, or is another evaluation's.
    """

    def __init__(self, folder, digest):
        self._folder = files.output_folder(folder)
        meta = self._folder / "evaluation.json"
        if meta.exists():
            if json.loads(meta.read_text()).get("fingerprint") != digest:
                raise InputError(
                    "`checkpoint` must be a new folder, or one of an evaluation of the "
                    "same model, data, attacks and settings. "
                    f"Received: checkpoint={folder}, of another evaluation"
                )
        else:
            files.write_text(meta, json.dumps({"fingerprint": digest}) + "\n")

    def load(self, row, batch):
        """Returns the arrays of a finished batch, or `None`."""
        try:
            with np.load(self._path(row, batch)) as arrays:
                return dict(arrays)
        except (FileNotFoundError, ValueError, zipfile.BadZipFile):
            return None

    def save(self, row, batch, arrays):
        """Keeps the arrays of a finished batch."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        files.write_bytes(self._path(row, batch), buffer.getvalue())

    def _path(self, row, batch):
        return self._folder / f"row{row:03}_batch{batch:05}.npz"

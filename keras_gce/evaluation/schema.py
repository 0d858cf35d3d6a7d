"""The JSON of a report, and how an older version of it is read.

`report.schema.json`, beside this file, is its JSON Schema.
"""

import base64
import dataclasses
import functools
import json
import math
import pathlib
from typing import Any

import numpy as np

from keras_gce.evaluation.results import (
    AttackResult,
    Curve,
    Flag,
    GalleryExample,
    Part,
    RowArrays,
)

__all__ = ["SCHEMA_VERSION", "as_dict", "check", "fields_of", "no_constant", "strict"]

SCHEMA_VERSION = 3
IMAGES = ("clean", "adversarial", "difference")
# Of a part's rows: what is true or false, and what is a number.
BITS, NUMBERS = ("attacked", "reached", "finite"), ("l0", "l2", "linf", "queries")


def as_dict(report: Any) -> dict[str, Any]:
    """Returns a report as a dict of what JSON can hold.

    Args:
        report: A `RobustnessReport`, whose file imports this one.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "model": report.model,
        "threat_model": report.threat_model,
        "worst_case_only": report.worst_case_only,
        "n_examples": len(report.clean),
        "clean_accuracy": report.clean_accuracy,
        "worst_case_accuracy": report.worst_case_accuracy,
        "worst_cases": [
            vars(case) | {"confidence_interval": list(case.confidence_interval)}
            for case in report.worst_cases
        ],
        "results": [dataclasses.asdict(result) for result in report.results],
        "confidence_interval": list(report.confidence_interval()),
        "flags": [flag.name for flag in report.flags],
        "checks": [
            dataclasses.asdict(flag) | {"raised": flag.raised} for flag in report.checks
        ],
        "versions": report.versions,
        "skipped": report.skipped,
        "clean": _pack(report.clean),
        "row_robust": [_pack(row) for row in report.row_robust],
        "labels": None if report.labels is None else _pack_array(report.labels),
        "class_names": report.class_names,
        "data": report.data,
        "curves": [dataclasses.asdict(curve) for curve in report.curves],
        "gallery": [
            {
                name: _pack_array(value) if name in IMAGES else value
                for name, value in vars(example).items()
            }
            for example in report.gallery
        ],
        "setup": report.setup,
        "part": None if report.part is None else _packed_part(report.part),
    }


def fields_of(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a `RobustnessReport` from what `as_dict` returned."""
    n = data["n_examples"]
    rows = [_unpack(row, n) for row in data["row_robust"]]
    if len(rows) != len(data["results"]):
        raise ValueError(f"{len(rows)} row_robust for {len(data['results'])} results")
    labels = data.get("labels")
    # Of version 1 the raised ones alone.
    checks = data["checks"] if "checks" in data else data["flags"]
    return {
        "model": data["model"],
        "threat_model": data["threat_model"],
        "results": [AttackResult(**result) for result in data["results"]],
        "clean": _unpack(data["clean"], n),
        "row_robust": np.array(rows, bool).reshape(len(rows), n),
        "checks": [_flag(check) for check in checks],
        "worst_case_only": data["worst_case_only"],
        "versions": data["versions"],
        "skipped": data.get("skipped", []),
        "labels": labels and _unpack_array(labels),
        "class_names": data.get("class_names"),
        "data": data.get("data"),
        "curves": [Curve(**curve) for curve in data.get("curves", [])],
        "gallery": [_example(example) for example in data.get("gallery", [])],
        "setup": data.get("setup", {}),
        "part": data.get("part") and _part(data["part"], n, len(rows)),
    }


def no_constant(text: str) -> None:
    """Refuses NaN and Infinity, which Python's reader of JSON would take."""
    raise ValueError(f"{text} is no number of JSON")


def check(data: dict[str, Any]) -> None:
    """Refuses what `as_dict` returned of a report that was made of damaged parts.

    Raises:
        ValueError: If it is not as the JSON Schema says.
    """
    import jsonschema

    wrong = jsonschema.exceptions.best_match(_validator().iter_errors(data))
    if wrong is not None:
        raise ValueError(f"{wrong.json_path}: {wrong.message[:120]}")
    names, labels = data["class_names"], data["labels"]
    if names and labels and _unpack_array(labels).max() >= len(names):
        raise ValueError(f"{len(names)} class_names for labels beyond")


@functools.cache
def _validator() -> Any:
    import jsonschema

    path = pathlib.Path(__file__).with_name("report.schema.json")
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


def strict(value: Any) -> Any:
    """Returns what JSON can hold, without the NaN and Infinity that it can't."""
    if isinstance(value, dict):
        return {key: strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flag(data: dict[str, Any]) -> Flag:
    # Version 3 says which are raised, as each finds out itself.
    return Flag(**{name: value for name, value in data.items() if name != "raised"})


def _example(data: dict[str, Any]) -> GalleryExample:
    images = {name: _unpack_array(data[name]) for name in IMAGES}
    return GalleryExample(**{**data, **images})


def _packed_part(part: Part) -> dict[str, Any]:
    return vars(part) | {
        "index": _pack_array(part.index),
        "finite": _pack(part.finite),
        "rows": [
            {name: _pack(vars(row)[name]) for name in BITS}
            | {name: _pack_array(vars(row)[name]) for name in NUMBERS}
            for row in part.rows
        ],
    }


def _part(data: dict[str, Any], n: int, rows: int) -> Part:
    # Of a part that was made before there were any.
    none = {"queries": _pack_array(np.zeros(n, "int32"))}
    found = [
        {name: _unpack(row[name], n) for name in BITS}
        | {name: _unpack_array((none | row)[name]) for name in NUMBERS}
        for row in data["rows"]
    ]
    index = _unpack_array(data["index"])
    shapes = {index.shape, *(row[name].shape for row in found for name in NUMBERS)}
    if shapes != {(n,)} or [len(found), len(data["opens"])] != [rows, rows]:
        raise ValueError(f"a part of other shapes than {rows} rows of {n} examples")
    return Part(
        **data
        | {"index": index, "finite": _unpack(data["finite"], n)}
        | {"rows": [RowArrays(**row) for row in found]}
    )


def _pack(bits: np.ndarray) -> str:
    return base64.b64encode(np.packbits(np.asarray(bits, bool)).tobytes()).decode()


def _unpack(text: str, n: int) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(text), np.uint8)
    if len(packed) != -(-n // 8):
        raise ValueError(f"{len(packed)} bytes for {n} examples")
    return np.unpackbits(packed, count=n).astype(bool)


def _pack_array(array: np.ndarray) -> dict[str, Any]:
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "base64": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


def _unpack_array(packed: dict[str, Any]) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(packed["base64"]), packed["dtype"])
    return flat.reshape(packed["shape"])

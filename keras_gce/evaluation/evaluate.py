"""`evaluate`: attacks on a model, under a named threat model."""

import dataclasses
import datetime
import importlib
import time

import keras
import numpy as np

from keras_gce.attacks.autoattack import AutoAttack
from keras_gce.attacks.base import check_images, check_integer, check_labels
from keras_gce.attacks.logits import batches, check_logits, predict_logits, unwrap
from keras_gce.attacks.objectives import is_crossentropy, training_loss
from keras_gce.errors import InputError
from keras_gce.evaluation.checkpoint import Checkpoint, fingerprint
from keras_gce.evaluation.diagnostics import diagnose, zero_gradients
from keras_gce.evaluation.flags import row_checks
from keras_gce.evaluation.gallery import SIZE, gallery
from keras_gce.evaluation.hardware import hardware
from keras_gce.evaluation.images import data_arrays
from keras_gce.evaluation.report import RobustnessReport
from keras_gce.evaluation.results import AttackResult
from keras_gce.progress import bar

__all__ = ["THREAT_MODELS", "evaluate"]

THREAT_MODELS = {
    "paper": ("training",),
    "crossentropy": ("crossentropy",),
    "adaptive": ("crossentropy", "training", "margin"),
}

# Counts what a finished batch in a checkpoint holds.
CHECKPOINT_FORMAT = 3


def evaluate(
    model,
    data,
    attacks,
    threat_model="adaptive",
    batch_size=500,
    checkpoint=None,
    progress=True,
    worst_case_only=False,
    diagnostics=False,
):
    """Attacks a model and reports what is left of its accuracy.

    The threat model says which losses each gradient attack ascends:

    - `"paper"`: the loss that the model was trained with (the paper's Eq. 4). A model
      can look robust so only because its own loss is a poor guide for an attack.
    - `"crossentropy"`: cross-entropy on the logits, whatever the training loss.
    - `"adaptive"`: each of cross-entropy, the training loss and the margin loss; an
      example counts as robust only if none of them breaks it.

    JSMA, CarliniWagnerL2, FAB and the black-box attacks have objectives of their own
    and run once. AutoAttack runs as its authors have it: its attacks have a row each,
    and each attacks what those before it left right.

    Examples that the model gets wrong from the start are not attacked. Ours leave a
    gradient attack at their first success. What is random is decided by the attack's
    seed (0 where it is `None`) and the number of the batch.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> x = np.random.default_rng(0).random((20, 4), "float32")
    >>> y = np.argmax(model.predict(x, verbose=0), -1)
    >>> from keras_gce.attacks import PGD
    >>> report = evaluate(model, (x, y), [PGD(eps=1.0)], "crossentropy", progress=False)
    >>> report.clean_accuracy, len(report.results)
    (1.0, 1)

    Args:
        model: A built `keras.Model`; see `keras_gce.attacks.logits_of`. Compiled with
            its training loss, where the threat model asks for that.
        data: Images and labels: a pair of arrays, a `Split`, a `tf.data.Dataset` or
            a `keras.utils.PyDataset`.
            Images of shape `(N, ...)` within the attacks' bounds, by default [0, 1].
        attacks: One attack, or a list of attacks.
        threat_model: Its name, or `None`: each attack keeps its own loss. Defaults to
            `"adaptive"`.
        batch_size: Most images attacked at once, >= 1. Defaults to 500.
        checkpoint: Path of a folder where finished batches are kept; the same call
            continues there. Defaults to `None`.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.
        worst_case_only: Whether each row attacks only what the rows before it left
            right: the worst case is the same and sooner there, but a row's accuracy
            is then that of all rows up to it. Defaults to `False`.
        diagnostics: Whether to look for masked gradients by runs of their own, at the
            greatest eps of the attacks; see `diagnose`. Defaults to `False`.

    Returns:
        A `RobustnessReport`.

    Raises:
        InputError: If an argument is not as described.
    """
    if threat_model is not None and threat_model not in THREAT_MODELS:
        raise InputError(
            f"`threat_model` must be one of {', '.join(THREAT_MODELS)}, or None. "
            f"Received: threat_model={threat_model!r}"
        )
    check_integer("batch_size", batch_size, least=1)
    model = unwrap(model)
    rows, ensembles, skipped = _rows(attacks, threat_model, model)
    x, y = data_arrays(data)
    for bounds in {attack.bounds for attack in rows} or {(0.0, 1.0)}:
        x = check_images(x, bounds)
    check_logits(model, x)
    y = check_labels(y, x, model)
    if any(getattr(attack, "loss", None) == "training" for attack in rows):
        training_loss(model)

    saved = None
    if checkpoint is not None:
        settings = {
            "rows": [
                [attack.name, attack.engine, _settings(attack)] for attack in rows
            ],
            "batch_size": batch_size,
            "format": CHECKPOINT_FORMAT,
            "worst_case_only": worst_case_only,
        }
        saved = Checkpoint(checkpoint, fingerprint(model, x, y, settings))

    clean = predict_logits(model, x, batch_size).argmax(-1) == y
    robust, results = np.tile(clean, (len(rows), 1)), []
    found = [[] for _ in rows]
    # What is left right by the rows before, of an ensemble or of all.
    left = {}
    with bar("attacking", len(rows) * int(clean.sum()), progress) as advance:
        for row, (attack, ensemble) in enumerate(zip(rows, ensembles, strict=True)):
            same = _same_objective(rows[:row], attack, model)
            if same is not None and not worst_case_only:
                robust[row] = robust[same]
                results.append(
                    dataclasses.replace(
                        results[same],
                        loss=attack.loss,
                        seconds=0.0,
                        settings=_settings(attack),
                    )
                )
                advance(int(clean.sum()), attack.name)
                continue
            group = "all" if worst_case_only else ensemble
            before = clean if group is None else left.get(group, clean)
            chosen = np.flatnonzero(before)
            parts = []
            for batch, index in enumerate(batches(chosen, batch_size)):
                part = saved and saved.load(row, batch)
                if part is None:
                    part = _attack(attack, model, x[index], y[index], batch, batch_size)
                    if saved:
                        saved.save(row, batch, part)
                robust[row, index] = part["right"]
                if len(found[row]) < SIZE:
                    names = ("shown", "shown_x", "shown_class")
                    for i, *rest in zip(*(part[name] for name in names), strict=True):
                        found[row].append((index[i], *rest))
                parts.append(part)
                advance(len(index), attack.name)
            robust[row] &= before
            if group is not None:
                left[group] = robust[row]
            advance(int(clean.sum()) - len(chosen), attack.name)
            name = None if ensemble is None else ensemble[1]
            results.append(_result(attack, name, clean, robust[row], parts))

    checks = []
    if not worst_case_only:
        checks += row_checks(results, robust, clean)
    if diagnostics:
        radii = [row for row in rows if getattr(row, "eps", None)]
        widest = max(radii, key=lambda row: row.eps, default=None)
        if widest is not None:
            checks += diagnose(
                model, x, y, widest.eps, norm=widest.norm, bounds=widest.bounds
            )
    elif clean.any() and any(result.loss for result in results):
        checks.append(zero_gradients(model, x[clean][:batch_size], y[clean]))
    return RobustnessReport(
        model=model.name,
        threat_model=threat_model,
        results=results,
        clean=clean,
        row_robust=robust,
        checks=checks,
        skipped=skipped,
        worst_case_only=worst_case_only,
        versions=_versions(rows),
        labels=y,
        data=fingerprint(None, x, y, {})[:16],
        gallery=gallery(found, x, y, rows[0].bounds),
        setup={
            "hardware": hardware(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )


def _rows(attacks, threat_model, model):
    """Returns the attacks to run, for each its ensemble, and which can't run, and why.

    An ensemble is its number and name, or None. A gradient attack is run with each
    loss of the threat model.
    """
    rows, ensembles, skipped = [], [], []
    attacks = attacks if isinstance(attacks, (list, tuple)) else [attacks]
    for number, attack in enumerate(attacks):
        if not hasattr(attack, "run") or not hasattr(attack, "engine"):
            raise InputError(
                "`attacks` must hold attacks of keras_gce.attacks or "
                f"CleverHansAttack. Received: {attack!r}"
            )
        if getattr(attack, "targeted", False):
            raise InputError(
                "`attacks` must be untargeted here, where the labels are the true "
                f"classes; call the attack itself. Received: {attack!r}"
            )
        ensemble = None
        if isinstance(attack, AutoAttack):
            attack.check_model(model)
            new = attack.attacks
            ensemble = (number, attack.name)
        elif threat_model is None or not hasattr(attack, "with_loss"):
            new = [attack]
        else:
            new = [attack.with_loss(loss) for loss in THREAT_MODELS[threat_model]]
        for row in new:
            if getattr(row, "unavailable", None):
                skipped.append(f"{row.name} of {row.engine}: {row.unavailable}")
            else:
                rows.append(row)
                ensembles.append(ensemble)
    skipped = sorted(set(skipped))
    if not rows:
        raise InputError(
            "`attacks` must hold at least one attack that runs here. "
            f"Received: {skipped or attacks}"
        )
    return rows, ensembles, skipped


def _attack(attack, model, x, y, batch, batch_size):
    start = time.perf_counter()
    # Apart from each other, so that seeds 0 and 1 share no batch.
    seed = ((attack.seed or 0) * 1_000_003 + batch * 7919) % 2**31
    x_adv = np.asarray(attack.run(model, x, y, seed=seed, stop_early=True))
    seconds = time.perf_counter() - start
    delta = (x_adv - x).reshape(len(x), -1)
    targets = getattr(attack, "targets", lambda *_: None)(model, x, y, seed)
    classes = predict_logits(model, x_adv, batch_size).argmax(-1)
    right = classes == y
    shown = np.flatnonzero(~right)[:SIZE]
    return {
        "right": right,
        "shown": shown,
        "shown_x": x_adv[shown],
        "shown_class": classes[shown],
        "reached": ~right if targets is None else classes == targets,
        "l0": np.count_nonzero(delta, axis=1),
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "seconds": np.float64(seconds),
    }


def _same_objective(before, attack, model):
    """The row that ran this already: the training loss may be cross-entropy."""
    if getattr(attack, "loss", None) != "training" or not is_crossentropy(model):
        return None
    twin = attack.with_loss("crossentropy")
    for row, other in enumerate(before):
        if other.name == twin.name and _settings(other) == _settings(twin):
            return row
    return None


def _result(attack, ensemble, clean, robust, parts):
    won, l0, l2 = (
        np.concatenate([part[key] for part in parts] or [np.zeros(0, kind)])
        for key, kind in (("reached", bool), ("l0", int), ("l2", float))
    )
    return AttackResult(
        name=attack.name,
        engine=attack.engine,
        loss=_text(getattr(attack, "loss", None)),
        eps=getattr(attack, "eps", None),
        norm=getattr(attack, "norm", None),
        n_examples=len(clean),
        clean_accuracy=float(clean.mean()),
        robust_accuracy=float(robust.mean()),
        success_rate=float(won.mean()) if len(won) else None,
        mean_l0=float(l0[won].mean()) if won.any() else None,
        mean_l2=float(l2[won].mean()) if won.any() else None,
        median_l2=float(np.median(l2[won])) if won.any() else None,
        max_linf=float(max((part["linf"].max() for part in parts), default=0.0)),
        seconds=float(sum(part["seconds"] for part in parts)),
        settings=_settings(attack),
        ensemble=ensemble,
    )


def _settings(attack):
    values = {
        field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)
    }
    return {name: _text(value) for name, value in values.items()}


def _text(value):
    if isinstance(value, keras.Model):
        weights = fingerprint(value, np.zeros(0), np.zeros(0), {})[:12]
        return f"{value.name} (weights {weights})"
    if dataclasses.is_dataclass(value):
        return {"name": value.name, **_settings(value)}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return list(value) if isinstance(value, tuple) else value


def _versions(rows):
    names = ["keras_gce", "keras", keras.backend.backend(), "numpy"]
    names += ["cleverhans"] * any(row.engine == "cleverhans" for row in rows)
    return {name: importlib.import_module(name).__version__ for name in names}

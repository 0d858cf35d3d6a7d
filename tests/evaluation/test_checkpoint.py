"""A killed evaluation continues, and one checkpoint is of one evaluation."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from networks import balanced, labelled

from keras_gce import losses
from keras_gce.attacks import FGSM, PGD
from keras_gce.errors import InputError
from keras_gce.evaluation import evaluate

GCE = losses.GuidedComplementEntropy


def linear(seed=0, loss=None):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    kernel = np.random.default_rng(seed).normal(0, 1, (6, 3)).astype("float32")
    model.set_weights([kernel, -kernel.sum(0) / 2])
    if loss is not None:
        model.compile(loss=loss)
    return model


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(1).random((30, 6), "float32")
    y = np.argmax(linear().predict(x, verbose=0), -1)
    return x, y


def run(model, data, folder, attack=None):
    return evaluate(
        model,
        data,
        attack or PGD(eps=0.05, steps=2, seed=0),
        "adaptive",
        batch_size=10,
        checkpoint=folder,
        progress=False,
        diagnostics=False,
    )


def refused(received, *args):
    with pytest.raises(InputError, match=received) as error:
        run(*args)
    assert "\n" not in str(error.value)


def test_checkpoint_continues_with_the_same_numbers(tmp_path):
    folder = tmp_path / "attacks"
    attacks = [PGD(eps=0.05, steps=10)]
    arguments = {"attacks": attacks, "batch_size": 20, "progress": False}
    model = balanced()
    model.compile(loss=GCE(from_logits=True))
    data = labelled(model, 50)

    class Killed(BaseException):
        pass

    class Dying(PGD):
        """PGD that dies in its fifth batch, as by a signal."""

        def run(self, *args, **kwargs):
            batches.append(1)
            if len(batches) == 5:
                raise Killed
            return super().run(*args, **kwargs)

        @property
        def name(self):
            return "PGD"

    batches = []
    with pytest.raises(Killed):
        evaluate(
            model,
            data,
            **{**arguments, "attacks": [Dying(eps=0.05, steps=10)]},
            checkpoint=folder,
            diagnostics=False,
        )
    finished = sorted(p.name for p in folder.glob("row*"))
    assert len(finished) == 4
    times = {name: (folder / name).stat().st_mtime_ns for name in finished}
    continued = evaluate(model, data, **arguments, checkpoint=folder, diagnostics=False)
    assert {n: (folder / n).stat().st_mtime_ns for n in finished} == times
    whole = evaluate(model, data, **arguments, diagnostics=False)
    np.testing.assert_array_equal(continued.row_robust, whole.row_robust)
    assert continued.to_dict()["gallery"] == whole.to_dict()["gallery"] != []
    for a, b in zip(continued.results, whole.results, strict=True):
        assert (a.robust_accuracy, a.mean_l2, a.max_linf) == (
            b.robust_accuracy,
            b.mean_l2,
            b.max_linf,
        )
    with pytest.raises(InputError, match="of another evaluation"):
        evaluate(
            model,
            data,
            [FGSM(eps=0.1)],
            progress=False,
            checkpoint=folder,
            diagnostics=False,
        )


def test_a_checkpoint_is_of_one_training_loss(data, tmp_path):
    model = linear(loss=GCE(alpha=0.5, from_logits=True))
    first = run(model, data, tmp_path)
    model.compile(loss=GCE(alpha=0.5, from_logits=True))
    again = run(model, data, tmp_path)
    # Read from the folder, to the second.
    assert [r.seconds for r in again.results] == [r.seconds for r in first.results]
    model.compile(loss=GCE(alpha=0.25, from_logits=True))
    refused(f"checkpoint={tmp_path}, of another evaluation", model, data, tmp_path)
    refused("another evaluation", linear(1), data, tmp_path)


def test_a_checkpoint_is_of_one_lambda(data, tmp_path):
    def attack(by):
        return FGSM(eps=0.05, loss=lambda y, z: by * z[:, 0])

    def evaluated(by):
        return evaluate(
            linear(),
            data,
            attack(by),
            None,
            checkpoint=tmp_path,
            progress=False,
            diagnostics=False,
        )

    assert evaluated(1.0).results == evaluated(1.0).results
    with pytest.raises(InputError, match="another evaluation"):
        evaluated(-1.0)


@pytest.mark.parametrize(
    "meta,received",
    [
        ({"fingerprint": "0" * 64}, "of another version"),
        ({"format": 99, "fingerprint": "0" * 64}, "format 99"),
        ("no JSON {", "of another version"),
        ("[1, 2]", "of another version"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused(data, tmp_path, meta, received):
    text = meta if isinstance(meta, str) else json.dumps(meta)
    (tmp_path / "evaluation.json").write_text(text)
    refused(received, linear(), data, tmp_path)


def test_a_finished_batch_of_other_examples_is_done_again(data, tmp_path):
    model, attack = linear(), PGD(eps=0.05, steps=2, seed=0)
    whole = run(model, data, tmp_path, attack)
    path = tmp_path / "row000_batch00001.npz"
    with np.load(path) as arrays:
        part = dict(arrays)
    # As on a machine where one more example is right before: all move by one.
    part["index"] = part["index"] - 1
    part["right"] = ~part["right"]
    np.savez(path, **part)
    again = run(model, data, tmp_path, attack)
    np.testing.assert_array_equal(again.row_robust, whole.row_robust)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["index"], part["index"] + 1)


def test_a_torn_batch_is_done_again(data, tmp_path):
    model = linear()
    whole = run(model, data, tmp_path)
    path = tmp_path / "row000_batch00000.npz"
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(
        run(model, data, tmp_path).row_robust, whole.row_robust
    )

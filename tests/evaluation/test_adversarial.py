"""What broke each image, kept."""

import dataclasses

import numpy as np
import pytest
from networks import balanced, labelled

from keras_gce.attacks import BIM, FGSM, JSMA, RandomNoise
from keras_gce.classifier import Classifier
from keras_gce.evaluation import evaluate


@pytest.fixture(scope="module")
def model():
    return balanced()


@pytest.fixture(scope="module")
def data(model):
    x, y = labelled(model, 60)
    y[::7] = (y[::7] + 1) % 4  # Some are wrong before any attack.
    return x, y


def run(model, data, attacks, **settings):
    settings = {"keep_adversarial": True, **settings}
    return evaluate(
        *(model, data, attacks, "crossentropy"),
        **{"progress": False, "diagnostics": False, **settings},
    )


ATTACKS = {
    "one": [BIM(eps=0.03)],
    "the weaker first": [RandomNoise(eps=0.03, samples=3), BIM(eps=0.03)],
    "two radii": [BIM(eps=0.01), BIM(eps=0.03)],
    "beside one without a radius": [JSMA(), FGSM(eps=0.02)],
    "without a radius": [JSMA()],
}


@pytest.mark.parametrize("worst_case_only", [False, True])
@pytest.mark.parametrize("attacks", ATTACKS.values(), ids=ATTACKS)
def test_each_broken_image_once(model, data, attacks, worst_case_only):
    x, y = data
    report = run(model, data, attacks, worst_case_only=worst_case_only, batch_size=20)
    kept = report.adversarial
    np.testing.assert_array_equal(
        kept.index, np.flatnonzero(report.clean & ~report.robust)
    )
    assert len(kept) == len(kept.index) > 5
    z = Classifier(model).predict(kept.x_adv)
    np.testing.assert_array_equal(z.argmax(-1), kept.predicted)
    np.testing.assert_array_equal(kept.y, y[kept.index])
    assert (kept.predicted != kept.y).all()
    for i, row in enumerate(kept.row):
        result = report.results[row]
        assert result.name == kept.attack[i] and (result.loss or "") == kept.loss[i]
        # No row before it that counts has broken the image.
        before = [
            r
            for r in range(row)
            if report.results[r].eps is not None or result.eps is None
        ]
        assert report.row_robust[before][:, kept.index[i]].all()
    distance = np.abs(kept.x_adv - x[kept.index]).max(axis=(1, 2, 3))
    within = np.isnan(kept.eps) | (distance <= kept.eps)
    assert within.all() and (distance > 0).all()


def test_a_checkpoint_without_them_is_done_again_where_it_must(model, data, tmp_path):
    attacks = [BIM(eps=0.03)]
    run(model, data, attacks, checkpoint=tmp_path, keep_adversarial=False)
    (part,) = tmp_path.glob("row*")
    written = part.stat().st_mtime_ns
    kept = run(model, data, attacks, checkpoint=tmp_path).adversarial
    whole = run(model, data, attacks).adversarial
    np.testing.assert_array_equal(kept.x_adv, whole.x_adv)
    # Now it has them, and is left alone by either call.
    after = part.stat().st_mtime_ns
    assert after > written
    for keep in (True, False):
        run(model, data, attacks, checkpoint=tmp_path, keep_adversarial=keep)
    assert part.stat().st_mtime_ns == after


def test_nothing_is_broken(model, data, tmp_path):
    report = run(model, data, [FGSM(eps=0.0)])
    assert len(report.adversarial) == 0
    report.adversarial.save(tmp_path / "none.npz")
    with np.load(tmp_path / "none.npz", allow_pickle=False) as arrays:
        assert arrays["x_adv"].shape == (0, 8, 8, 1)
        assert set(arrays) == {
            field.name for field in dataclasses.fields(report.adversarial)
        }


def test_the_gallery_is_the_same(model, data):
    with_all, without = (
        run(model, data, [BIM(eps=0.03)], keep_adversarial=keep).to_dict()["gallery"]
        for keep in (True, False)
    )
    assert with_all == without != []

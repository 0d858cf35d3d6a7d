"""Work on Ray's workers: real ones, two processes of this machine."""

import dataclasses
import os
import pathlib
import re
import signal

import keras
import numpy as np
import pytest
from keras import ops
from networks import balanced, labelled
from recipes import tiny

from keras_gce.attacks import FGSM, PGD, RandomNoise, Transfer
from keras_gce.classifier import Classifier
from keras_gce.cli import main
from keras_gce.errors import InputError, WorkError
from keras_gce.evaluation import RobustnessReport, evaluate, evaluate_on_ray
from keras_gce.recipes.runs import over_seeds

ray = pytest.importorskip("ray")
tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.integration

# Of those that are right, some have gradients that are not finite, in some parts only.
BATCH = 10


class Uneven(keras.layers.Layer):
    """Has no gradient where an image is bright."""

    def __init__(self, bright, **kwargs):
        super().__init__(**kwargs)
        self.bright = bright

    def call(self, x):
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        # No number where the mean is above: nor is the gradient.
        tiny = ops.exp(ops.log(self.bright - mean)) / 1000
        return ops.where(mean > self.bright, x, x + tiny)

    def get_config(self):
        return {**super().get_config(), "bright": self.bright}


class Forgetful(keras.layers.Layer):
    """Has a setting that its configuration leaves out."""

    def get_config(self):
        return {"name": self.name}

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor


class Twice(keras.losses.Loss):
    """A loss of the user's own."""

    def call(self, y_true, y_pred):
        return 2 * keras.losses.sparse_categorical_crossentropy(y_true, y_pred, True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deadly(FGSM):
    """Has its process killed, once for each line of a file, or raises."""

    counter: str = ""
    how: str = "killed"

    def run(self, classifier, x, y, seed=None, stop_early=False):
        """Attacks, or dies."""
        path = pathlib.Path(self.counter)
        left = path.read_text().splitlines()
        if left and self.how == "raises":
            raise RuntimeError("the device is lost")
        if left:
            path.write_text("\n".join(left[1:]))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(classifier, x, y, seed, stop_early)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, which keep their backend from one evaluation to the next."""
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    # As the workers have it, other than the tests: it rounds otherwise.
    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options(options)
    ray.shutdown()


@pytest.fixture(scope="module")
def model():
    model = balanced(first=[Uneven(0.55)])
    model.compile(loss=Twice(), metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def data(model):
    x, y = labelled(model, 44)
    y[::9] = (y[::9] + 1) % 4  # Some are wrong before any attack.
    return x, y


SETTINGS = {"batch_size": BATCH, "progress": False, "diagnostics": False}


def rows(report):
    return [dataclasses.asdict(row) | {"seconds": 0} for row in report.results]


def assert_same(report, whole):
    assert rows(report) == rows(whole)
    for name in ("clean", "row_robust", "labels", "robust"):
        np.testing.assert_array_equal(getattr(report, name), getattr(whole, name))


@pytest.fixture(scope="module")
def attacks():
    """With a loss and a second model of the user's own."""
    other = balanced(first=[Uneven(2.0)], seed=1)

    def loss(y, logits):
        return -ops.take_along_axis(logits, y[:, None], 1)[:, 0]

    return [
        PGD(eps=0.02, steps=3, loss="training"),
        Transfer(source=other, attack=FGSM(eps=0.02)),
        RandomNoise(eps=0.02, samples=2),
        FGSM(eps=0.03, loss=loss),
    ]


@pytest.fixture(scope="module")
def whole(cluster, model, data, attacks):
    return evaluate(model, data, attacks, None, keep_adversarial=True, **SETTINGS)


@pytest.fixture(scope="module")
def finished(cluster, model, data, attacks, tmp_path_factory):
    """An evaluation on two workers, and its folder."""
    folder = tmp_path_factory.mktemp("finished") / "kept"
    return on_ray(model, data, attacks, folder, keep_adversarial=True), folder


def on_ray(model, data, attacks, folder=None, **settings):
    settings = {**SETTINGS, "threat_model": None, "checkpoint": folder, **settings}
    return evaluate_on_ray(model, data, attacks, 2, **settings)


def parts(folder):
    """The files of finished parts, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part*.json")}


def test_two_workers_are_one_process_image_for_image(whole, finished):
    report, folder = finished
    raised = {flag.name for flag in whole.flags}
    assert "nan_gradients" in raised
    assert [row.name for row in whole.results][4:] == ["Square"]  # Nobody asked for it.
    assert 0.1 < whole.worst_case_accuracy < whole.clean_accuracy < 0.95
    assert_same(report, whole)
    assert raised == {flag.name for flag in report.flags}
    for name, found in vars(report.adversarial).items():
        np.testing.assert_array_equal(found, vars(whole.adversarial)[name])
    assert report.setup["parts"].startswith("5")
    # Where a gradient is missing in one part, all are run like it: some twice.
    made = parts(folder)
    assert 5 < len(made) < 10 and sum("black-box" in name for name in made) > 1


def test_finished_parts_are_not_run_again_and_damaged_ones_are(
    whole, finished, model, data, attacks
):
    _, folder = finished
    before = parts(folder)
    for name, text in zip(sorted(before)[:2], ("", "{"), strict=True):
        (folder / name).write_text(text)
    damaged = {name for name in before if parts(folder)[name] != before[name]}
    assert len(damaged) == 2
    middle = parts(folder)
    report = on_ray(model, data, attacks, folder, keep_adversarial=True)
    assert_same(report, whole)
    after = parts(folder)
    assert {name for name in after if after[name] != middle[name]} == damaged
    # And all of it in one piece, of the same batches.
    again = evaluate(model, data, attacks, None, checkpoint=folder, **SETTINGS)
    assert_same(again, whole)


def test_a_part_whose_worker_is_killed_is_run_again(cluster, data, tmp_path):
    model = balanced()
    counter = tmp_path / "counter"
    counter.write_text("once\n")
    attack = Deadly(eps=0.02, counter=str(counter))
    report = on_ray(model, data, attack)
    assert not counter.read_text()
    assert_same(report, evaluate(model, data, attack, None, **SETTINGS))


def test_what_is_finished_is_kept_where_a_part_fails(
    cluster, data, tmp_path, monkeypatch
):
    """Three times, as on a lost device; a call without a folder says where it is."""
    model = balanced()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    counter = tmp_path / "counter"
    counter.write_text("lost")
    attacks = [
        FGSM(eps=0.02),
        Deadly(eps=0.03, counter=str(counter), how="raises"),
    ]
    reason = "part [12] of 5: RuntimeError: the device is lost"
    with pytest.raises(WorkError, match=f"failed 3 times: .*{reason}") as error:
        on_ray(model, data, attacks)
    folder = re.search(r"kept with finished batches in (\S+): ", str(error.value))[1]
    assert "0 of 5 parts are finished" in str(error.value)
    batches = {
        path: path.stat().st_mtime_ns for path in pathlib.Path(folder).glob("row*")
    }
    assert batches
    counter.write_text("")
    report = on_ray(model, data, attacks, folder)
    assert_same(report, evaluate(model, data, attacks, None, **SETTINGS))
    assert batches == {path: path.stat().st_mtime_ns for path in batches}


@pytest.mark.parametrize(
    ("workers", "address", "message"),
    [
        (0, None, "`workers` must be an integer >= 1"),
        (True, None, "`workers` must be an integer >= 1"),
        (2.0, None, "`workers` must be an integer >= 1"),
        (2, "", "`address` must be that of a Ray cluster"),
        (2, "127.0.0.1:1", "`address` must be None where Ray is connected"),
    ],
)
def test_refusals(cluster, model, data, workers, address, message):
    with pytest.raises(InputError, match=message):
        evaluate_on_ray(model, data, FGSM(eps=0.1), workers, address, **SETTINGS)


def test_a_model_that_is_another_one_after_loading_is_refused(cluster, data):
    model = balanced(first=[Forgetful(2.0)])
    with pytest.raises(InputError, match="`model` must be the same after it was saved"):
        on_ray(model, data, FGSM(eps=0.1))


def test_without_the_extra_one_line_names_it(model, data, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "keras_gce\[ray\]"'):
        evaluate_on_ray(model, data, FGSM(eps=0.1), 2)


def test_the_command_line(cluster, data, tmp_path, capsys):
    model = balanced()
    model.compile(loss=Twice())
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x_test=data[0], y_test=data[1])

    def report(name, *options):
        command = ["evaluate", str(tmp_path / "model.keras"), "--batch-size", "20"]
        command += ["--dataset", str(tmp_path / "data.npz"), "--attacks", "fgsm,pgd"]
        command += ["--eps", "0.02", "--import", __file__, "--quiet"]
        path = tmp_path / name
        assert main([*command, "--output", str(path), *options]) == 0
        out, err = capsys.readouterr()
        assert "| PGD | 0.02 |" in out and not err
        return RobustnessReport.from_json(path.read_text())

    found = report(
        "two.json", "--workers", "2", "--save-adversarial", f"{tmp_path}/a.npz"
    )
    assert_same(found, report("one.json"))
    assert found.setup["parts"] == "3, on workers of Ray"
    assert (
        len(np.load(tmp_path / "a.npz")["x_adv"]) == (found.clean & ~found.robust).sum()
    )


def test_runs_of_recipes(cluster, tmp_path, capsys):
    """They train in the same folders, to the same models, and resume there."""
    recipe, data = tiny.recipe("cot", epochs=1), tiny.data()

    def measure(source, model, folder):
        right = Classifier(model).right(*data.test.arrays())
        return model.get_weights(), f"{right.mean():.0%} right in {os.getpid()}"

    def runs(folder, **settings):
        return over_seeds([recipe], [0, 1], folder, data, measure, **settings)[recipe]

    with pytest.warns(UserWarning, match="cot-.*: Training has stayed at"):
        found = runs(tmp_path / "two", workers=2)
    words = capsys.readouterr().err
    with pytest.warns(UserWarning, match="Training has stayed at"):
        alone = runs(tmp_path / "one", progress=False)
    for one, other in zip(found, alone, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    names = [path.name for path in sorted((tmp_path / "two").iterdir())]
    assert names == [path.name for path in sorted((tmp_path / "one").iterdir())]
    # Done by others, at the same time.
    pids = set(re.findall(r"right in (\d+)", words))
    assert len(pids) == 2 and str(os.getpid()) not in pids
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.glob("two/*/model.keras")
    }
    assert len(before) == 2
    runs(tmp_path / "two", workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in before}

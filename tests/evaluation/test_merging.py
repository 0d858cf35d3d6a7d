"""Parts of a test set: together they are what one evaluation of it is."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops
from networks import balanced, labelled

from keras_gce import losses
from keras_gce.attacks import (
    APGD,
    FGSM,
    JSMA,
    PGD,
    AutoAttack,
    RandomNoise,
    Square,
)
from keras_gce.errors import InputError
from keras_gce.evaluation import RobustnessReport, compare, evaluate, merge
from keras_gce.evaluation.flags import ROW_CHECKS

# Those that are computed anew from all examples.
COMPUTED = (
    *("nan_outputs", "near_chance", "zero_gradients", "nan_gradients"),
    *ROW_CHECKS,
)


class Small(AutoAttack):
    """An ensemble of attacks that take a moment, the second on what the first left."""

    @property
    def attacks(self):
        pair = APGD(steps=1, **self.ball), APGD(steps=9, **self.ball)
        return *pair, Square(queries=5, **self.ball)


PLAIN = [FGSM(eps=0.02), PGD(eps=0.02, steps=3), RandomNoise(eps=0.02, samples=2)]
PLAIN += [PGD(eps=0.01, steps=3), JSMA(max_iterations=3)]
CASES = {
    "each row": {"attacks": PLAIN, "threat_model": "adaptive"},
    "the worst case": {"attacks": PLAIN, "worst_case_only": True},
    "an ensemble": {"attacks": [Small(eps=0.04), Small(eps=0.045)]},
}


class Uneven(keras.layers.Layer):
    """Has no answer to images that are dark, and no gradient where they are bright."""

    def call(self, x):
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        x = ops.where(mean > 0.53, ops.round(8 * x) / 8, x)
        return ops.where(mean < 0.475, np.nan, x)


@pytest.fixture(scope="module")
def model():
    model = balanced(first=[Uneven()])
    model.compile(loss=losses.GuidedComplementEntropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def data(model):
    x, y = labelled(model, 40)
    y[::9] = (y[::9] + 1) % 4  # Some are wrong before any attack.
    return x, y


def run(model, data, attacks=PLAIN[0], threat_model="crossentropy", **settings):
    settings = {"batch_size": 5, "progress": False, "diagnostics": False, **settings}
    return evaluate(model, data, attacks, threat_model, **settings)


def parts_of(n, *args, **settings):
    return [run(*args, part=(i, n), **settings) for i in range(1, n + 1)]


@pytest.fixture(scope="module")
def three(model, data):
    return parts_of(3, model, data)


@pytest.fixture(scope="module")
def other(model, data):
    """Part 2 of 3 of another attack."""
    return run(model, data, FGSM(eps=0.03), part=(2, 3))


def rows(report):
    return [dataclasses.asdict(row) | {"seconds": 0} for row in report.results]


def assert_same(merged, whole):
    assert rows(merged) == rows(whole)
    for name in ("clean", "row_robust", "labels", "robust"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert merged.worst_case_accuracy == whole.worst_case_accuracy
    assert (merged.data, merged.skipped) == (whole.data, whole.skipped)
    found, expected = (
        [flag for flag in report.checks if flag.name in COMPUTED]
        for report in (merged, whole)
    )
    assert found == expected and len(found) >= 4
    assert merged.part is None


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parts_are_the_whole_image_for_image(model, data, case):
    whole = run(model, data, **case)
    assert 0.1 < whole.worst_case_accuracy < whole.clean_accuracy < 0.9
    assert {"nan_outputs", "zero_gradients"} <= {flag.name for flag in whole.flags}
    asked = {row.name for row in whole.results if row.median_queries is not None}
    assert asked == {row.name for row in whole.results} & {"RandomNoise", "Square"}
    for n in (1, 2, 3, 7):
        parts = parts_of(n, model, data, **case)
        assert sum(len(part.clean) for part in parts) == 40
        for part in parts:  # It is about its own examples.
            index = part.part.index
            np.testing.assert_array_equal(part.clean, whole.clean[index])
            np.testing.assert_array_equal(part.row_robust, whole.row_robust[:, index])
            assert {row.n_examples for row in part.results} == {len(index)}
        assert_same(merge(parts[::-1]), whole)
    read = [RobustnessReport.from_json(part.to_json()) for part in parts]
    merged = merge(read)
    assert_same(merged, whole)
    for i, row in enumerate(merged.results):
        assert row.seconds == sum(part.results[i].seconds for part in parts)
    again = RobustnessReport.from_json(merged.to_json())
    assert again.to_dict() == merged.to_dict()


def test_a_part_says_that_it_is_one(three, model, data):
    text = three[1].to_json()
    again = RobustnessReport.from_json(text)
    assert again.to_dict() == three[1].to_dict() == json.loads(text)
    first = three[1].to_markdown().splitlines()[0]
    assert f"{model.name}, part 2 of 3: clean accuracy" in first
    assert "part" not in merge(three).to_markdown().splitlines()[0]
    assert "part 2 of 3</h1>" in three[1].to_html()
    with pytest.raises(InputError, match="part 2 of 3 and .*part 3 of 3"):
        compare(three[1], three[2])
    assert compare(three[1], again).p_value == 1.0


def test_what_each_part_keeps(model, data):
    settings = {"attacks": [*PLAIN[:4], FGSM(eps=0.04)], "keep_adversarial": True}
    whole = run(model, data, **settings)
    parts = parts_of(3, model, data, **settings)
    merged = merge(parts)
    assert len(merged.adversarial) == len(whole.adversarial) > 8
    for name, array in vars(whole.adversarial).items():
        np.testing.assert_array_equal(vars(merged.adversarial)[name], array)
    x, _ = data
    for example in merged.gallery:
        expected = np.round(255 * x[example.index]).astype("uint8")
        np.testing.assert_array_equal(example.clean, expected)
    index = [example.index for example in merged.gallery]
    assert len(set(index)) == len(index) and merged.robust[index[8:]].all()
    assert [e.left for e in merged.gallery] == [False] * 8 + [True] * 4
    # Where one part did not keep them, the whole has not.
    parts[1] = dataclasses.replace(parts[1], adversarial=None)
    assert merge(parts).adversarial is None


def test_signs_of_runs_of_their_own_are_those_of_part_1(model, data):
    parts = parts_of(2, model, data, diagnostics=True)
    names = [{flag.name for flag in part.checks} for part in parts]
    assert "more_steps_gain" in names[0] and "more_steps_gain" not in names[1]
    merged = {flag.name: flag for flag in merge(parts).checks}
    for flag in parts[0].checks:
        if flag.name not in (*COMPUTED, "pixel_unit", "eps_covers_range"):
            taken = merged[flag.name]
            assert taken.value == flag.value
            if flag.name != "constant_outputs":
                assert taken.message == f"in part 1 of 2: {flag.message}"
    # What is true of all parts alike is no part's.
    assert "in part" not in merged["constant_outputs"].message
    assert "in part" not in merged["eps_covers_range"].message


def test_the_worst_figure_of_a_check_is_taken(three):
    changed = []
    for part, value in zip(three, (0.2, None, 0.4), strict=True):
        checks = [
            dataclasses.replace(flag, value=value, message=f"it is {value}")
            if flag.name == "constant_outputs"
            else flag
            for flag in part.checks
        ]
        changed.append(dataclasses.replace(part, checks=checks))
    worst = {flag.name: flag for flag in merge(changed).checks}["constant_outputs"]
    assert worst.message == "in part 2 of 3: it is None" and worst.raised


def test_texts_of_the_parts_are_joined(three):
    machines = [("A", "jax 1"), ("B", "jax 1"), ("A", "jax 2")]
    reports = [
        dataclasses.replace(
            part,
            setup={"hardware": hardware, "dataset": "mnist"},
            versions=part.versions | {"jax": version},
            skipped=[hardware],
        )
        for part, (hardware, version) in zip(three, machines, strict=True)
    ]
    merged = merge(reports)
    assert merged.setup == {"hardware": "A; B", "dataset": "mnist"}
    assert merged.versions["jax"] == "jax 1, jax 2" and merged.skipped == ["A", "B"]


def changed(report, **part):
    return dataclasses.replace(report, part=dataclasses.replace(report.part, **part))


def test_what_does_not_fit_is_refused(three, other, model, data):
    one, two, last = three
    version = dataclasses.replace(last, versions={"keras_gce": "0.0.1"})
    named = dataclasses.replace(last, class_names=["a", "b", "c", "d"])
    for received, *reports in (
        ("none", []),
        ("list of RobustnessReport, dict", [one, {}]),
        ("RobustnessReport of none", one),
        ("as number 2 of them one of a whole test set", [one, run(model, data)]),
        ("2; part 2 of 3 is missing", [last, one]),
        ("1; parts 1 and 3 of 3 are missing", [two]),
        ("part 2 of 3 more than once", [one, two, last, two]),
        ("part 2 of 3 of another model, .* than part 1 of 3", [one, other, last]),
        ("part 2 of 4 of another number", [one, changed(two, of=4), last]),
        ("part 3 of 3 of another version of keras_gce", [one, two, version]),
        ("part 3 of 3 of another list of class names", [one, two, named]),
        ("some of them twice", [one, two, changed(last, index=two.part.index)]),
        (
            "another list of attacks run",
            [one, two, dataclasses.replace(last, results=other.results)],
        ),
    ):
        with pytest.raises(InputError, match=received) as error:
            merge(*reports)
        assert "\n" not in str(error.value)


class Root(keras.layers.Layer):
    """Has no gradient, beside an image either, where the image is bright."""

    def call(self, x):
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        return x + ops.sqrt(ops.relu(0.5 - mean))


def test_parts_of_which_one_ran_an_attack_without_the_gradient_too(tmp_path):
    model = balanced(first=[Root()])
    x, _ = labelled(model, 10)
    x[:5], x[5:] = x[:5] * 0.6, x[5:] * 0.6 + 0.4
    data = x, np.argmax(ops.convert_to_numpy(model(x)), -1)
    parts = parts_of(2, model, data, checkpoint=tmp_path)
    assert [len(part.results) for part in parts] == [1, 2]
    assert "nan_gradients" in [flag.name for flag in parts[1].flags]
    with pytest.raises(InputError, match="part 2 of 2 of another list of attacks run"):
        merge(parts)
    # In their folder an evaluation of the whole does what is missing, and what part 1
    # did another way: gradients are taken beside where they are none.
    whole = run(model, data, checkpoint=tmp_path)
    assert len(whole.results) == 2
    assert_same(whole, run(model, data))


@pytest.mark.parametrize(
    "part", [(0, 2), (3, 2), (1, 0), (1,), (1, 2, 3), 1, "1/2", (1.0, 2), (True, 2)]
)
def test_a_part_that_is_none(part, model, data):
    with pytest.raises(InputError, match="two integers") as error:
        run(model, data, part=part)
    assert f"Received: part={part!r}" in str(error.value)


def test_a_part_without_any_example(model, data):
    with pytest.raises(InputError, match=r"n <= 8, since 40 .* part=\(1, 9\)"):
        run(model, data, part=(1, 9))


def test_damaged_parts_are_refused(three):
    data = three[0].to_dict()
    row = data["part"]["rows"][0]
    for wrong in (
        {"of": 0},
        {"index": data["part"]["rows"][0]["l0"] | {"shape": [3, 5]}},
        {"rows": []},
        {"rows": [row | {"attacked": "AA=="}]},
        {"rows": [{name: row[name] for name in row if name != "l2"}]},
        {"opens": []},
    ):
        broken = data | {"part": data["part"] | wrong}
        with pytest.raises(InputError, match="JSON of a report"):
            RobustnessReport.from_json(json.dumps(broken))
    # As reports of this schema version were before there were parts.
    before = {name: value for name, value in data.items() if name != "part"}
    assert RobustnessReport.from_json(json.dumps(before)).part is None


def test_parts_of_before_queries_were_counted(three):
    old = []
    for part in three:
        data = part.to_dict()
        for row in data["results"]:
            del row["median_queries"]
        for row in data["part"]["rows"]:
            del row["queries"]
        old.append(RobustnessReport.from_json(json.dumps(data)))
    assert_same(merge(old), merge(three))


class Killed(BaseException):
    pass


def test_a_killed_part_continues_and_parts_share_a_folder(model, data, tmp_path):
    batches = []

    class Dying(PGD):
        """PGD that dies in its second batch, as by a signal."""

        def run(self, *args, **kwargs):
            batches.append(1)
            if len(batches) == 2:
                raise Killed
            return super().run(*args, **kwargs)

        @property
        def name(self):
            return "PGD"

    settings = {"checkpoint": tmp_path}
    with pytest.raises(Killed):
        run(model, data, Dying(eps=0.02, steps=3), part=(2, 3), **settings)
    (finished,) = tmp_path.glob("row*")
    assert finished.name == "row000_batch00001.npz"
    written = finished.stat().st_mtime_ns
    attack = PGD(eps=0.02, steps=3)
    parts = parts_of(3, model, data, attack, **settings)
    assert finished.stat().st_mtime_ns == written
    assert len(list(tmp_path.glob("row*"))) == 8
    whole = run(model, data, attack)
    assert_same(merge(parts), whole)
    # What the parts left there is the whole's too.
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("row*"))]
    assert_same(run(model, data, attack, **settings), whole)
    assert times == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("row*"))]

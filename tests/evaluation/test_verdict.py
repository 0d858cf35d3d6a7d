"""What a report's page says first, and what its tables and charts are made of."""

import pathlib
import re

import numpy as np
import pytest

from keras_gce.evaluation import AttackResult, Curve, Flag, RobustnessReport
from keras_gce.evaluation.attack_table import attack_table
from keras_gce.evaluation.chart import charts
from keras_gce.evaluation.verdict import verdict
from keras_gce.evaluation.words import (
    SIGNS,
    ball_text,
    images,
    interval_text,
    portion,
    title,
)

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "report.md"


def row(left, n=400, name="PGD", eps=8 / 255, norm="linf", **fields):
    loss = fields.pop("loss", "crossentropy")
    figures = {"success_rate": 0.5, "mean_l2": 1.0, "max_linf": 0.1, "seconds": 1.0}
    return left, AttackResult(
        name=name,
        engine=fields.pop("engine", "keras_gce"),
        loss=loss,
        eps=eps,
        norm=None if eps is None else norm,
        n_examples=n,
        clean_accuracy=1.0,
        robust_accuracy=left / n,
        settings={"bounds": fields.pop("bounds", [0.0, 1.0])},
        **{**figures, **fields},
    )


def made(*rows, n=400, **fields):
    return RobustnessReport(
        model="sequential",
        threat_model=fields.pop("threat_model", "adaptive"),
        results=[result for _, result in rows],
        clean=fields.pop("clean", np.ones(n, bool)),
        row_robust=np.array([np.arange(n) < left for left, _ in rows]).reshape(-1, n),
        **fields,
    )


def checks(*raised, names=("zero_gradients", "more_steps_gain")):
    found = [Flag(name, 0.0, 0.5, "not seen") for name in names if name not in raised]
    return found + [Flag(name, 1.0, 0.5, "seen") for name in raised]


QUARTER = "1 of 4 images keeps its class at eps 8/255 (linf)."
CLEAR = (
    "clear: No sign of masking: of 2 signs that the attacks fail, and the model only "
    "seems to hold, none was seen. That is no proof."
)
UNKNOWN = (
    "unknown: Not known whether to trust it. This report did not look for signs of "
    "masked gradients."
)


@pytest.mark.parametrize(
    "report,robust,trust,precise",
    [
        (
            made(row(100), checks=checks()),
            QUARTER,
            CLEAR,
            "400 images, so 21 to 29% (95% interval).",
        ),
        (
            made(row(100), checks=checks("zero_gradients", "nan_gradients")),
            QUARTER,
            "raised: Do not trust this figure. 2 signs of masked gradients: gradients "
            "of exactly zero; gradients that are not numbers. The model may be less "
            "robust.",
            "400 images, so 21 to 29% (95% interval).",
        ),
        (
            made(row(100), checks=checks("nan_outputs")),
            QUARTER,
            "raised: Do not trust this figure. 1 sign of masked gradients: answers "
            "that are not numbers. The model may be less robust.",
            "400 images, so 21 to 29% (95% interval).",
        ),
        (
            made(row(0), checks=checks("loss_does_not_rise")),
            "No image keeps its class at eps 8/255 (linf).",
            "raised: It can't be lower, but quote no other figure here: 1 sign of "
            "masked gradients: PGD ends where it began.",
            "400 images, so at most 1.0% (95% interval).",
        ),
        (
            made(row(400), checks=checks()),
            "Every image keeps its class at eps 8/255 (linf).",
            CLEAR + " What could still break it is listed below.",
            "400 images, so at least 99.0% (95% interval).",
        ),
        (
            made(row(3), checks=checks("near_chance")),
            "Fewer than 1 of 100 images keep their class at eps 8/255 (linf).",
            "raised: This figure says nothing about robustness: hardly right even "
            "without an attack.",
            "400 images, so 0.3 to 2.2% (95% interval).",
        ),
        (
            made(
                row(7, n=19),
                n=19,
                checks=checks(names=["zero_gradients", "nan_gradients"]),
            ),
            "7 of 19 images keep their class at eps 8/255 (linf).",
            "unknown: No sign of masking so far: of 2 signs that the attacks fail, and "
            "the model only seems to hold, none was seen. That is no proof. Those that "
            "take runs of their own were not looked for.",
            "Only 19 images, so 19 to 59% (95% interval): too few to be sure of more.",
        ),
        (
            made(row(100), threat_model="paper"),
            QUARTER,
            UNKNOWN
            + " Attacked under threat model paper alone, which is not the worst "
            "case.",
            "400 images, so 21 to 29% (95% interval).",
        ),
        (
            made(row(0, eps=0.2), row(8, eps=0.04), row(0, eps=0.12), checks=checks()),
            "2 of 100 images keep their class at eps 0.04 (linf), none at 0.12 or "
            "more.",
            CLEAR,
            "400 images, so 1.0 to 3.9% at 0.04 (95% interval).",
        ),
        (
            made(row(0, eps=0.04), row(0, eps=0.12), checks=checks()),
            "No image keeps its class at eps 0.04 (linf) or more.",
            CLEAR,
            "400 images, so at most 1.0% at 0.04 (95% interval).",
        ),
        (
            made(*(row(400 - 90 * i, eps=i / 100) for i in range(1, 5))),
            "About 77 of 100 images keep their class at eps 0.01 (linf), 1 of 10 at "
            "0.04.",
            UNKNOWN,
            "400 images, so 73 to 81% at 0.01 (95% interval).",
        ),
        (
            made(row(100), row(200, eps=0.5, norm="l2"), checks=checks()),
            "1 of 2 images keeps its class at eps 0.5 (l2); 1 of 4 at eps 8/255 "
            "(linf); 1 of 4 under all of these together.",
            CLEAR,
            "400 images, so 21 to 29% under all together (95% interval).",
        ),
        (
            made(row(0, eps=None, name="JSMA", mean_l2=0.47), checks=checks()),
            "Under attacks that may go as far as they like no image keeps its class; "
            "the least mean change was 0.47 (l2).",
            CLEAR + " Without a radius this is no robust accuracy.",
            "400 images, so at most 1.0% (95% interval).",
        ),
        (
            made(row(400, eps=None, mean_l2=None), checks=checks("zero_gradients")),
            "Under attacks that may go as far as they like every image keeps its "
            "class.",
            "raised: Do not trust this figure. 1 sign of masked gradients: gradients "
            "of exactly zero.",
            "400 images, so at least 99.0% (95% interval).",
        ),
        (
            made(n=1, clean=np.zeros(1, bool)),
            "No attack was run.",
            "unknown: Nothing was attacked. No figure here speaks of robustness.",
            "Only 1 image, so at most 80% (95% interval): too few to be sure of more.",
        ),
    ],
    ids=[
        "plain",
        "signs",
        "not numbers",
        "signs of nothing left",
        "all left",
        "chance",
        "few",
        "not looked for",
        "several eps",
        "nothing at any",
        "many eps",
        "norms",
        "no radius",
        "no radius, no success",
        "no attack",
    ],
)
def test_the_verdict(report, robust, trust, precise):
    said = verdict(report)
    assert said.robust == robust
    assert f"{said.level}: {said.trust} {said.why}" == trust
    assert said.precise == precise


def test_shares_in_words_never_flatter():
    for n in (7, 40, 200, 333, 1000):
        for right in range(1, n):
            found = re.search(r"(\d+) of (\d+)", portion(right, n))
            said = int(found[1]) / int(found[2])
            assert said <= right / n + 0.01, (right, n)
            if "about" not in portion(right, n) and "fewer" not in portion(right, n):
                assert said == pytest.approx(right / n)
    assert images(97, 400) == "About 24 of 100 images keep their class".lower()
    assert images(399, 400) == "about 99 of 100 images keep their class"
    assert interval_text(0.0, 0.0038) == "at most 0.4%"
    assert interval_text(0.9962, 1.0) == "at least 99.6%"


def test_every_sign_has_plain_words():
    table = re.search(r"(?s)\| flag \|.*?\n\n", GUIDE.read_text())[0]
    assert set(re.findall(r"(?m)^\| `(\w+)`", table)) == set(SIGNS)


def test_a_radius_as_a_part_of_255_where_it_is_one():
    unit, bytes_ = made(row(1)), made(row(1, bounds=[0.0, 255.0], eps=8.0))
    assert ball_text(unit, 8 / 255, "linf") == "8/255 (linf)"
    assert ball_text(unit, float(np.float32(4 / 255))) == "4/255"
    # 51/255, which nobody calls so; close to 8/255; not in [0, 1].
    assert ball_text(unit, 0.2) == "0.2" and ball_text(unit, 0.0313) == "0.0313"
    assert ball_text(bytes_, 8.0) == "8" and ball_text(bytes_, 8 / 255) == "0.03137"


@pytest.mark.parametrize(
    "setup,name",
    [
        ({}, "sequential"),
        (
            {"model": "/a/b/victim.keras", "dataset": "cifar10"},
            "victim.keras on cifar10",
        ),
        ({"model": r"C:\x\v.keras", "dataset": "photos/"}, "v.keras on photos"),
    ],
)
def test_the_title(setup, name):
    assert title(made(row(1), setup=setup)) == name


def test_the_table_says_once_what_is_the_same():
    same = {"seconds": 0.0, "success_rate": 0.5}
    report = made(
        row(150, name="FGSM"),
        row(150, name="FGSM", loss="training", **same),
        row(120),
        row(120, loss="margin"),
        # Nothing was left to attack: no figures that it could repeat.
        row(120, loss="training", seconds=0.0, success_rate=None),
    )
    table = attack_table(report)
    assert table["caption"] == "All rows: within eps 8/255 (linf), run by keras_gce."
    (group,) = table["groups"]
    kept = [(result.name, result.loss) for result in group["rows"]]
    assert kept == [
        ("FGSM", "crossentropy"),
        ("PGD", "crossentropy"),
        ("PGD", "margin"),
        ("PGD", "training"),
    ]
    assert table["repeats"] == [(report.results[1], report.results[0])]
    assert group["strongest"] is report.results[2] and group["equals"] == 1
    assert group["together"] == 0.3
    other = made(row(9, eps=0.1), row(5, eps=0.2, engine="cleverhans"))
    table = attack_table(other)
    assert table["caption"] == "" and table["engines"]
    assert [group["ball"] for group in table["groups"]] == ["0.1 (linf)", "0.2 (linf)"]
    # Of one row none is the strongest.
    assert [group["strongest"] for group in table["groups"]] == [None, None]


def test_what_is_drawn():
    curve = Curve(
        threat_model="paper",
        attack="PGD",
        norm="linf",
        eps=[0.0, 4 / 255, 8 / 255],
        accuracy=[1.0, 0.6, 0.285],
        n_examples=200,
    )
    twin = Curve(**{**vars(curve), "threat_model": "adaptive"})
    report = made(row(100), curves=[curve, twin])
    (chart,) = charts(report)
    for drawing in chart["drawings"]:
        canvas = drawing["canvas"]
        (worst,) = drawing["worst"]
        assert worst["y"] == canvas.y(0.25) and drawing["joined"] == []
        assert worst["high_y"] < worst["y"] < worst["low_y"]
        assert [mark["text"] for mark in drawing["marks"]] == ["eps 8/255: 25.0%"]
        one, other = drawing["lines"]
        assert one["width"] > other["width"]
        for a, b in zip(one["points"], other["points"], strict=True):
            assert a["y"] == b["y"] and a["x"] + 3 < b["x"]
        # Labels of ticks don't touch, nor leave the picture.
        ends = [
            (x - 4 * len(text), x + 4 * len(text)) for x, text in drawing["x_ticks"]
        ]
        assert all(a[1] < b[0] for a, b in zip(ends, ends[1:], strict=False))
        assert ends[-1][1] <= canvas.width
    assert [r["eps"] for r in chart["rows"]] == ["0 (no attack)", "4/255", "8/255"]
    assert [r["evaluated"] for r in chart["rows"]] == [False, False, True]
    # One radius alone is a figure; several are a line; another norm has its own chart.
    assert charts(made(row(100))) == []
    (alone,) = charts(made(row(100), row(50, eps=0.1)))
    assert len(alone["drawings"][0]["joined"]) == 3
    two = charts(made(row(100), row(9, eps=1.0, norm="l2"), curves=[curve]))
    assert [chart["norm"] for chart in two] == ["linf"]
    (none,) = charts(made(row(9, eps=1.0, norm="l2"), curves=[curve]))
    assert none["worst"] is None and none["drawings"][0]["marks"] == []

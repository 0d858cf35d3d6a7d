"""The report: what it holds, its JSON, the comparison of two, and its page."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from keras_gce.attacks import FGSM, PGD, RandomNoise
from keras_gce.errors import InputError
from keras_gce.evaluation import (
    RobustnessReport,
    accuracy_curves,
    compare,
    evaluate,
)
from keras_gce.evaluation.intervals import mcnemar

NAMES = ["zero", "one", "two", "three", "<b>four</b>", "5", "6", "7", "8", "9"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(gce_model, digits):
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, steps=5), RandomNoise(eps=0.1, samples=2)]
    made = evaluate(gce_model, digits.test.take(100), attacks, progress=False)
    data = digits.test.take(40)
    curves = accuracy_curves(gce_model, data, [0.05, 0.1, 0.2], progress=False)
    return dataclasses.replace(made, curves=curves, class_names=NAMES)


def test_json_round_trip(report, tmp_path):
    text = report.to_json()
    assert "NaN" not in text
    again = RobustnessReport.from_json(text)
    assert again.to_dict() == report.to_dict() == json.loads(text)
    np.testing.assert_array_equal(again.robust, report.robust)
    with pytest.raises(InputError, match="schema_version=99"):
        RobustnessReport.from_json('{"schema_version": 99}')
    with pytest.raises(InputError, match="'nonsense'"):
        RobustnessReport.from_json("nonsense")


def test_views(report):
    pytest.importorskip("pandas")
    assert len(report.to_dataframe()) == len(report.results)
    markdown = report.to_markdown()
    assert "Threat model: adaptive" in markdown and "Flag training_loss" in markdown
    assert markdown.count("keras_gce |") == len(report.results)


def test_version_1_still_loads():
    # Written by the code of 2026-11-24, before version 2.
    text = (pathlib.Path(__file__).parent / "report_v1.json").read_text()
    old = RobustnessReport.from_json(text)
    assert json.loads(text)["schema_version"] == 1
    assert old.clean_accuracy == 0.975 and old.worst_case_accuracy == 0.0
    assert [flag.name for flag in old.flags] == ["training_loss_hides"]
    assert len(old.results) == 6 and old.results[1].robust_accuracy == 0.175
    assert RobustnessReport.from_json(old.to_json()).to_dict() == old.to_dict()
    assert "Robustness of small_cnn" in old.to_html()
    with pytest.raises(InputError, match="schema version 1"):
        old.per_class()


def test_broken_json_is_refused(report):
    data = report.to_dict()
    for broken in (
        {"schema_version": 2},
        data | {"results": [{"name": "FGSM"}]},
        data | {"clean": "AA=="},
        data | {"gallery": [{"clean": {"dtype": "uint8"}}]},
        [],
    ):
        with pytest.raises(InputError, match="JSON of a report"):
            RobustnessReport.from_json(json.dumps(broken))
    with pytest.raises(InputError, match="schema_version=4"):
        RobustnessReport.from_json(json.dumps(data | {"schema_version": 4}))


def test_interval_is_wilsons():
    # By hand, n = 10, 8 right, z = 1.96: 0.490 to 0.943 (Brown et al. 2001, Table).
    clean = np.array([True] * 8 + [False] * 2)
    empty = np.zeros((0, 10), bool)
    report = RobustnessReport(
        model="m", threat_model=None, results=[], clean=clean, row_robust=empty
    )
    assert report.confidence_interval() == pytest.approx((0.490, 0.943), abs=1e-3)
    with pytest.raises(InputError, match="level=1.5"):
        report.confidence_interval(1.5)


def test_per_class_adds_up(report, digits):
    rows = report.per_class()
    assert list(rows) == NAMES
    assert sum(row["n_examples"] for row in rows.values()) == 100
    for name in ("clean_accuracy", "worst_case_accuracy"):
        total = sum(row[name] * row["n_examples"] for row in rows.values())
        assert total == pytest.approx(100 * getattr(report, name))


def test_the_gallery_shows_what_the_attacks_broke(report, gce_model, digits):
    x, y = digits.test.take(100).arrays()
    assert 1 < len(report.gallery) <= 8
    assert len({example.index for example in report.gallery}) == len(report.gallery)
    for example in report.gallery:
        assert not report.row_robust[example.row, example.index]
        assert report.clean[example.index]
        assert example.label == y[example.index] != example.after
        assert 0 < example.scale <= 0.1 + 1e-6
        delta = example.adversarial.astype(float) - example.clean
        np.testing.assert_allclose(example.clean, 255 * x[example.index], atol=0.51)
        shown = (example.difference / 127.5 - 1) * example.scale * 255
        np.testing.assert_allclose(shown, delta, atol=1.2)


def test_curves(report, gce_model, digits):
    curves = {curve.threat_model: curve for curve in report.curves}
    assert list(curves) == ["paper", "crossentropy", "adaptive"]
    for curve in curves.values():
        assert curve.eps == [0.0, 0.05, 0.1, 0.2] and curve.n_examples == 40
        assert curve.accuracy == sorted(curve.accuracy, reverse=True)
        assert all(curve.accuracy[0] == other.accuracy[0] for other in report.curves)
        for (low, high), share in zip(curve.intervals(), curve.accuracy, strict=True):
            assert low <= share <= high
    for name in ("paper", "crossentropy"):
        pairs = zip(curves["adaptive"].accuracy, curves[name].accuracy, strict=True)
        assert all(a <= b for a, b in pairs)
    # At one radius, the evaluation itself.
    attack = PGD(eps=0.2, steps=40, step_size=0.2 / 16, seed=0)
    data = digits.test.take(40)
    alone = accuracy_curves(gce_model, data, [0.2], attack=attack, progress=False)
    direct = evaluate(gce_model, data, attack, "adaptive", progress=False)
    assert alone[-1].accuracy[1] == pytest.approx(
        direct.worst_case_accuracy, abs=2 / 40
    )
    for eps in ([], [0.0, 0.1], [float("nan")]):
        with pytest.raises(InputError, match="eps"):
            accuracy_curves(gce_model, data, eps)
    with pytest.raises(InputError, match="RandomNoise"):
        accuracy_curves(gce_model, data, [0.1], attack=RandomNoise(eps=0.1))


def test_compare_is_paired():
    def made(model, robust, data="same"):
        robust = np.array(robust, bool)
        return RobustnessReport(
            model=model,
            threat_model=None,
            results=[],
            clean=np.ones(len(robust), bool),
            row_robust=robust[None],
            data=data,
        )

    a = made("a", [1] * 8 + [0] * 2 + [1] * 10)
    b = made("b", [0] * 8 + [1] * 2 + [1] * 10)
    comparison = compare(a, b)
    assert (comparison.only_a, comparison.only_b) == (8, 2)
    assert comparison.difference == pytest.approx(0.3)
    # By hand: 2 (1 + 10 + 45) / 2^10.
    assert comparison.p_value == mcnemar(2, 8) == 0.109375
    assert "+30.00 points on 20 examples" in comparison.to_markdown()
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0
    assert 0 < mcnemar(400, 600) < 1e-9
    with pytest.raises(InputError, match="same images"):
        compare(a, made("b", [1] * 20, data="other"))
    with pytest.raises(InputError, match="19"):
        compare(a, made("b", [1] * 19, data=None))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # Chromium's sandbox does not run as root.
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a report's page; at the end nothing may have been fetched or logged."""
    seen = []

    def visit(report, width=1000):
        path = tmp_path / "report.html"
        path.write_text(report.to_html())
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: seen.append(dialog.message))

        def fetched(request):
            if request.url != path.as_uri() and not request.url.startswith("data:"):
                seen.append(request.url)

        page.on("request", fetched)
        page.goto(path.as_uri())
        return page

    yield visit
    assert seen == []


@pytest.mark.parametrize("width", [1000, 360])
def test_the_page_renders(visit, report, width):
    page = visit(report, width)
    assert page.title() == "Robustness of small_cnn"
    first = page.locator(".verdict").inner_text()
    assert f"{100 * report.clean_accuracy:.2f}%" in first
    assert "training_loss_hides" in first
    # Nothing but a table that scrolls by itself is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("figure img").count() == 3 * len(report.gallery)
    widths = page.evaluate(
        "[...document.images].map(i => i.complete ? i.naturalWidth : 0)"
    )
    assert set(widths) == {report.gallery[0].clean.shape[1]}
    # The fourth class's name is text, not markup.
    assert page.locator("td b, th b").count() == 0
    assert page.get_by_role("rowheader", name="<b>four</b>").count() == 1


def test_the_chart_needs_no_mouse(visit, report):
    page = visit(report)
    points = page.locator(".point")
    assert points.count() == 3 * 4
    tip = points.nth(5).locator(".tip")
    assert tip.evaluate("e => getComputedStyle(e).visibility") == "hidden"
    points.nth(4).focus()
    page.keyboard.press("Tab")
    assert tip.evaluate("e => getComputedStyle(e).visibility") == "visible"
    curve = report.curves[1]
    assert f"eps 0.05: {100 * curve.accuracy[1]:.2f}% right" in tip.text_content()
    assert "interval" in points.nth(5).get_attribute("aria-label")


def test_what_comes_from_a_file_stays_text(visit, report):
    hostile = "</title><script>alert(1)</script><img src=x onerror=alert(2)>"
    row = dataclasses.replace(report.results[0], name=hostile, settings={hostile: 1})
    curve = dataclasses.replace(report.curves[0], threat_model=hostile)
    made = dataclasses.replace(
        report,
        model=hostile,
        threat_model=hostile,
        results=[row, *report.results[1:]],
        curves=[curve],
        checks=[dataclasses.replace(report.checks[0], message=hostile, name=hostile)],
        class_names=[hostile] * 10,
        setup={hostile: hostile, "command": hostile},
        versions={hostile: hostile},
    )
    page = visit(RobustnessReport.from_json(made.to_json()))
    assert page.title() == f"Robustness of {hostile}"
    assert page.locator("script").count() == 0
    assert page.locator("[onerror]").count() == 0


def test_the_page_of_many_classes_and_of_none(visit, report):
    many = dataclasses.replace(
        report, labels=np.arange(100, dtype="int32"), class_names=None
    )
    page = visit(many)
    assert page.get_by_text("The 20 least robust of 100 classes").count() == 1
    assert page.locator("details tbody tr").count() == 80
    bare = dataclasses.replace(
        report, labels=None, gallery=[], curves=[], checks=[], setup={}
    )
    page = visit(bare)
    assert page.locator("h2").all_inner_texts() == ["Attacks", "Settings"]

"""The page of a report, in a browser."""

import dataclasses
import shutil

import numpy as np
import pytest

from keras_gce.evaluation import RobustnessReport

pytestmark = pytest.mark.integration

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


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

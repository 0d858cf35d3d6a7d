"""The page of a report, in a browser."""

import base64
import dataclasses
import io
import pathlib
import re
import shutil

import numpy as np
import pytest

import keras_gce
from keras_gce.evaluation import RobustnessReport
from keras_gce.evaluation.verdict import verdict

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


@pytest.mark.parametrize("width", [1000, 390, 360])
def test_the_page_renders(visit, report, width):
    page = visit(report, width)
    assert page.title() == "Robustness of small_cnn"
    first = page.locator("header").inner_text()
    assert verdict(report).robust in first
    assert "Do not trust this figure." in first
    assert f"{100 * report.clean_accuracy:.2f}%" in first
    assert f"{100 * report.worst_case_accuracy:.2f}%" in first and "eps 0.1" in first
    # The plain words, and the identifier after them.
    flag = page.locator(".flag").first.inner_text()
    assert flag.index("The training loss hides") < flag.index("training_loss_hides")
    # Nothing but a table that scrolls by itself is wider than the screen, and none has
    # to; what is folded has its own place.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over = page.locator(".scroll").evaluate_all(
        "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    )
    assert over == []
    # One of the two charts, its text neither cut nor in the way of another.
    assert page.locator(".plot:visible").count() == 1
    boxes = [box.bounding_box() for box in page.locator(".x-tick:visible").all()]
    assert len(boxes) > 2
    for box, after in zip(boxes, boxes[1:], strict=False):
        assert box["x"] + box["width"] < after["x"]
    assert boxes[-1]["x"] + boxes[-1]["width"] <= width
    broken = [example for example in report.gallery if not example.left]
    assert page.locator(".gallery img").count() == 3 * len(broken)
    assert page.locator(".gallery img").first.bounding_box()["width"] >= 100
    widths = page.evaluate(
        "[...document.images].map(i => i.complete ? i.naturalWidth : 0)"
    )
    assert set(widths) == {report.gallery[0].clean.shape[1]}
    # The fourth class's name is text, not markup.
    assert page.locator("td b, th b").count() == 0
    assert page.get_by_role("rowheader", name="<b>four</b>").count() == 1


def test_the_evaluated_eps_is_marked(visit, report):
    page = visit(report)
    share = 100 * report.worst_case_accuracy
    plot = page.locator(".plot:visible")
    assert plot.locator(".evaluated-text").inner_html() == f"eps 0.1: {share:.1f}%"
    mark = plot.locator(".evaluated").bounding_box()
    (point,) = plot.locator(".all .halo").all()
    box = point.bounding_box()
    assert mark["x"] == pytest.approx(box["x"] + box["width"] / 2, abs=1.5)
    worst = page.locator(".attacks .worst")
    assert worst.count() == 1 and "strongest" in worst.inner_text()
    assert page.locator(".attacks .together").inner_text().split()[-1] == f"{share:.2f}"
    assert (
        "within eps 0.1 (linf), run by keras_gce"
        in page.locator(".attacks caption").text_content()
    )
    heads = page.locator(".attacks thead th").all_inner_texts()
    assert heads == ["attack", "robust %", "success %", "mean l2", "seconds"]
    # A caption belongs to its picture.
    assert page.locator("figure > figcaption").count() == page.locator("figure").count()


CONTRAST = """() => {
  const paint = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (a, b) => {
    const alpha = a.length > 3 ? a[3] : 1;
    return [0, 1, 2].map(i => alpha * a[i] + (1 - alpha) * b[i]);
  };
  const ground = e => {
    if (e === document.documentElement) return [255, 255, 255];
    const own = paint(getComputedStyle(e).backgroundColor);
    return own.length > 3 && own[3] === 0 ? ground(e.parentElement)
      : over(own, ground(e.parentElement));
  };
  const light = c => {
    const [r, g, b] = c.map(v => v / 255).map(
      v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {text: [], drawn: []};
  for (const e of document.querySelectorAll('body *')) {
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (own) found.text.push(
      [ratio(paint(svg ? style.fill : style.color), ground(e)), e.outerHTML]);
    for (const part of ['stroke', 'fill'])
      if (e.matches(part === 'fill' ? '.fill' : '.draw'))
        found.drawn.push([ratio(paint(style[part]), ground(e)), e.outerHTML]);
  }
  return found;
}"""


def test_it_can_be_read_in_the_dark_and_on_paper(visit, report):
    page = visit(report)
    grounds = {}
    for look, media in (
        ("light", {"color_scheme": "light", "media": "screen"}),
        ("dark", {"color_scheme": "dark", "media": "screen"}),
        # Paper is white, whatever the screen.
        ("paper", {"color_scheme": "dark", "media": "print"}),
    ):
        page.emulate_media(**media)
        grounds[look] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        found = page.evaluate(CONTRAST)
        assert len(found["text"]) > 100 and len(found["drawn"]) > 20
        assert min(found["text"])[0] >= 4.5, (look, min(found["text"]))
        assert min(found["drawn"])[0] >= 3, (look, min(found["drawn"]))
    white = "rgb(255, 255, 255)"
    assert grounds["light"] == grounds["paper"] == white != grounds["dark"]


def test_what_is_folded_is_printed(visit, report):
    page = visit(report)
    version = page.get_by_text(f"numpy {np.__version__}")
    assert not version.is_visible()
    page.get_by_text("Command, versions").press("Enter")
    assert version.is_visible()
    page.reload()
    assert not version.is_visible()
    page.emulate_media(media="print")
    assert version.bounding_box()["height"] > 5


def test_the_gallery_has_one_scale_and_what_was_left(visit, report):
    one, other = report.gallery[:2]
    small = dataclasses.replace(other, scale=one.scale / 4, difference=one.difference)
    left = dataclasses.replace(one, after=one.label)
    page = visit(dataclasses.replace(report, gallery=[one, small, left]))
    whole, quarter = (
        page.locator("[alt='Their difference']").nth(i).get_attribute("src")
        for i in (0, 1)
    )
    spread = [np.ptp(pixels_of(address)) for address in (whole, quarter)]
    assert spread[1] == pytest.approx(spread[0] / 4, abs=2)
    assert "which no attack broke" in page.locator(".left img").get_attribute("alt")
    page = visit(dataclasses.replace(report, gallery=[one]))
    without = page.locator("section[aria-labelledby=gallery]").inner_text()
    n = int(report.robust.sum())
    assert f"Left: {n} of the {int(report.clean.sum())}" in without
    assert "no pictures of those" in without


def pixels_of(address):
    from PIL import Image

    file = io.BytesIO(base64.b64decode(address.split(",")[1]))
    return np.asarray(Image.open(file)).astype(int)


def test_the_chart_needs_no_mouse(visit, report):
    page = visit(report)
    points = page.locator(".plot:visible .point")
    assert points.count() == 3 * 4 + 1
    tip = points.nth(5).locator(".tip")
    assert tip.evaluate("e => getComputedStyle(e).visibility") == "hidden"
    points.nth(4).focus()
    page.keyboard.press("Tab")
    assert tip.evaluate("e => getComputedStyle(e).visibility") == "visible"
    curve = report.curves[1]
    figure = f"{100 * curve.accuracy[1]:.2f}% right"
    assert figure in tip.text_content()
    label = points.nth(5).get_attribute("aria-label")
    assert f"crossentropy, eps 0.05: {figure}, 95% interval" in label


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
        setup={hostile: hostile, "command": hostile, "dataset": hostile},
        versions={hostile: hostile},
    )
    again = RobustnessReport.from_json(made.to_json())
    page, html = visit(again), again.to_html()
    assert (
        page.title()
        == f"Robustness of {hostile} on script><img src=x onerror=alert(2)>"
    )
    assert page.locator("script").count() == 0
    assert page.locator("[onerror]").count() == 0
    # By this the command line knows a page of its own.
    (generator,) = re.findall(r'(?s)<meta name="generator" content="(.*?)">', html)
    assert generator == f"keras_gce {keras_gce.__version__}"
    assert html.index("generator") < html.index("<style>")


def test_the_page_of_many_classes_and_of_none(visit, report):
    many = dataclasses.replace(
        report, labels=np.arange(100, dtype="int32"), class_names=None
    )
    page = visit(many)
    assert page.get_by_text("The 20 least robust of 100 classes").count() == 1
    assert (
        page.locator("section[aria-labelledby=classes] details tbody tr").count() == 80
    )
    bare = dataclasses.replace(
        report, labels=None, gallery=[], curves=[], checks=[], setup={}
    )
    page = visit(bare)
    assert page.locator("h2").all_inner_texts() == ["Attacks", "Settings"]
    assert "Not known whether to trust it." in page.locator("header").inner_text()


def test_older_and_odd_reports_have_a_page(report):
    """Those without a radius, in several balls, of AutoAttack and of nothing at all."""
    old = (pathlib.Path(__file__).parent / "report_v1.json").read_text()
    pages = [RobustnessReport.from_json(old).to_html()]
    first, *others = report.results
    alone = {"labels": None, "gallery": [], "checks": [], "curves": []}
    for rows in (
        [],
        [dataclasses.replace(first, eps=None, norm=None, settings={"gamma": 0.1})],
        [first, dataclasses.replace(first, eps=0.5, norm="l2"), *others],
        [dataclasses.replace(first, eps=0.0)],
        [dataclasses.replace(row, ensemble="AutoAttack") for row in report.results],
    ):
        fields = alone if len(rows) < 2 else {}
        made = dataclasses.replace(
            report,
            results=rows,
            row_robust=np.zeros((len(rows), len(report.clean)), bool),
            **fields,
        )
        pages.append(made.to_html())
    assert "No attack was run." in pages[1]
    assert "gamma 0.1" in pages[2] and "no radius" in pages[2]
    assert "within eps 0.5 (l2)" in pages[3]
    assert "(l2) the whole change is no longer than eps" in pages[3]
    assert "of AutoAttack, run by keras_gce" in pages[5]

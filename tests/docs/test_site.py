"""README and docs/ as pages: the site is built, its links and names hold."""

import functools
import http.server
import importlib
import re
import shutil
import subprocess
import sys
import threading

import pytest
from pages import PAGES, ROOT

import keras_gce

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
REPOSITORY = "https://github.com/keras-gce/keras_gce/"
SITE = "https://keras-gce.github.io/keras_gce/"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site; a warning of the build is an error."""
    pytest.importorskip("zensical")
    # In a copy of what it is made of: it leaves its cache beside mkdocs.yml.
    folder = tmp_path_factory.mktemp("site")
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("docs", "keras_gce"):
        no_bytecode = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=no_bytecode)
    process = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    printed = re.sub(r"\x1b\[[\d;]*m", "", process.stdout + process.stderr)
    assert process.returncode == 0, printed
    # What mkdocstrings and griffe warn of does not end a build.
    said = re.sub(r"Build started|No issues found|Build finished in .*s", "", printed)
    assert not said.strip(), printed
    return folder / "site"


def anchors(site, page):
    """The anchors of a page of docs/, such as "guides/alpha.md"."""
    path = site / page.removesuffix(".md") / "index.html"
    if page.endswith("index.md"):
        path = (site / page).with_suffix(".html")
    return set(re.findall(r'id="([^"]+)"', path.read_text()))


@pytest.mark.integration
def test_the_site(site):
    assert (site / "search.json").exists()
    assert not list(site.rglob("*.py"))
    for page in PAGES:
        if page.startswith("docs/"):
            anchors(site, page.removeprefix("docs/"))


def test_the_menu_has_every_page_once():
    """Which Zensical does not look at."""
    yaml = pytest.importorskip("yaml")
    found, left = [], [yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(f"docs/{one}")
        else:
            left += one.values() if isinstance(one, dict) else one
    assert sorted(found) == sorted(page for page in PAGES if page.startswith("docs/"))


def test_the_architecture_names_what_is_there():
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGES["docs/architecture.md"]))
    package = ROOT / "keras_gce"
    rooms = (ROOT, package, package / "evaluation", package / "datasets")
    missing = {n for n in named if not any((room / n).exists() for room in rooms)}
    # Where a new file goes.
    assert {name for name in missing if not name.endswith("/NAME.py")} == set()
    assert len(named) > 25


def test_every_flag_is_in_the_guide():
    found = set()
    for source in (ROOT / "keras_gce" / "evaluation").rglob("*.py"):
        made = r"(?:\bFlag|\bmeasured|\bflag_of|\b_worst)\(\s*\"(\w+)\""
        found |= set(re.findall(made, source.read_text()))
    table = re.findall(r"(?m)^\| `(\w+)` \|", PAGES["docs/guides/report.md"])
    assert len(found) > 20 and sorted(found) == sorted(table)


def test_links_inside_the_docs():
    """Zensical looks at links to pages; here those to pictures, folders and files."""
    links = 0
    for page in PAGES:
        prose = re.sub(r"(?ms)^( *)```.*?^\1```", "", PAGES[page])
        for link in re.findall(r"\]\(([^)\s]+)\)", prose):
            if page.startswith("docs/") and "://" not in link:
                path = link.partition("#")[0]
                target = (ROOT / page).parent / path
                assert target.is_file() or not path, (page, link)
                links += 1
    assert links > 60


@pytest.mark.integration
def test_every_public_name_has_its_place(site, tf):
    index = PAGES["docs/api/index.md"]
    assert all(f"`keras_gce.{name}`" in index for name in keras_gce.__all__)
    for module in keras_gce._MODULES:
        names = importlib.import_module(f"keras_gce.{module}").__all__
        found = {anchor.split(".")[-1] for anchor in anchors(site, f"api/{module}.md")}
        assert set(names) <= found, (module, set(names) - found)


@pytest.mark.integration
def test_links_of_readme_and_messages(site):
    """Those inside docs/ are looked at above, and by the build."""
    links = [(page, link) for page in PAGES for link in _links(page)]
    for source in (ROOT / "keras_gce").rglob("*.py"):
        text = re.sub(r'"\s+f?"', "", source.read_text())
        found = re.findall(r"docs/[\w/]+\.md#[\w-]+", text)
        found += [f"docs/faq.md#{a}" for a in re.findall(r"faq\([\"']([\w-]+)", text)]
        found += [
            f"docs/{page}.md#{anchor}"
            for page, anchor in re.findall(rf"{SITE}([\w/]+)/#([\w-]+)", text)
        ]
        links += [(source.name, link) for link in found]
    assert len(links) > 20
    for page, link in links:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), (page, link)
        if anchor:
            page_of_it = path.removeprefix("docs/")
            assert anchor in anchors(site, page_of_it), (page, link)


def _links(page):
    """The links of a page that leave docs/, as paths in the repository."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        in_repository = re.match(rf"{REPOSITORY}(?:blob|tree)/main/(.*)", link)
        if in_repository:
            yield in_repository[1]
        elif not page.startswith("docs/") and "://" not in link:
            yield link


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.integration
def test_the_site_in_a_browser(address):
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    pages = ("", "architecture/", "faq/", "reproduction/", "guides/backends/")
    pages += ("api/attacks/",)
    seen = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        for name in pages:
            page.goto(address + name)
            assert page.locator("h1").count() == 1, name
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                # Wide tables and code scroll by themselves.
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (name, width)
        browser.close()
    elsewhere = [url for url in seen if not url.startswith((address, "data:"))]
    assert elsewhere == []

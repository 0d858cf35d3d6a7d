"""README, CONTRIBUTING and docs/: every code block runs, the site holds together.

They run at small scale: where they have the small network it is two dense layers, which
compile in half the time, trained for an epoch. What several pages begin with runs once.
"""

import argparse
import contextlib
import dataclasses
import functools
import http.server
import importlib
import importlib.util
import io
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import keras_gce
from keras_gce import cli, models, saving
from keras_gce.recipes import networks

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text() for page in sorted(PAGES)}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TENSORFLOW = keras.backend.backend() == "tensorflow"
REPOSITORY = "https://github.com/keras-gce/keras_gce/"

# KerasTuner and tf.distribute.
NEED_TENSORFLOW = {"docs/guides/alpha.md", "docs/guides/scaling.md"}
# Printed figures of a trained model differ from machine to machine: of these pages'
# output only the words are compared. Flags are among them, so that these models are
# trained in full.
FIGURES_DIFFER = {"README.md"}

# What makes Python blocks small: one epoch, one alpha, a network without convolutions.
SMALL_PYTHON = {
    r"\bepochs=\d+": "epochs=1",
    r"\balphas=\(1 / 2, 1 / 3\)": "alphas=(1 / 2,)",
    r"(?m)^ *keras\.layers\.Conv2D\(.*\),$": "",
}
# Commands that no test runs here, each with where it is run. The extras that they
# name are looked up.
ELSEWHERE = {
    'python -m venv .venv && .venv/bin/pip install ".[all]" && .venv/bin/keras-gce '
    "demo": ".ci/run, install, whose [dev] has [all]; the demo below, small",
    'python -m venv .venv && .venv/bin/pip install -e ".[dev]" && '
    ".venv/bin/python -m pytest": ".ci/run, install and tests",
    'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]"': ".ci/run, install",
    '.venv/bin/pip install -e ".[ci]"': ".ci/run, install",
    ".venv/bin/python -m pytest": ".ci/run, tests",
    '.venv/bin/python -m pytest -m "not integration"': ".ci/run, tests, has them all",
    ".venv/bin/python -m pytest tests/attacks/test_gradient.py": ".ci/run, tests",
    "KERAS_BACKEND=jax .venv/bin/python -m pytest -m seam": ".ci/run, jax and torch",
    ".venv/bin/ruff check . && .venv/bin/ruff format .": ".ci/run, ruff",
    ".venv/bin/mypy": ".ci/run, mypy",
    ".venv/bin/zensical build --strict": "test_the_site below",
    ".venv/bin/zensical serve": "the same build, with a server: by hand",
    'pip install ".[all]"': ".ci/run, install, whose [dev] has [all]",
    'pip install ".[all,jax,torch]"': ".ci/run, install, whose [ci] has these",
    'pip install "tensorflow[and-cuda]"': "needs a GPU: by hand",
    'pip install "jax[cuda13]"': "needs a GPU: by hand",
}
# What makes a command small, by its name: what it has of these is replaced, or left out
# where there is None. What is then the same runs once.
SMALL = {
    "train": {
        "--epochs": "1",
        "--model": "small_cnn",
        "--seed": None,
        "--output": "trained.keras",
    },
    "evaluate": {
        "--eps": "0.1",
        "--examples": "20",
        "--output": "report.json",
        "--html": "report.html",
    },
    "reproduce": {
        "--epochs": "1",
        "--seeds": "1",
        "--model": "small_cnn",
        "--examples": "20",
        "--output": None,
    },
    "tune": {
        "--epochs": "1",
        "--model": "small_cnn",
        "--steps": "2",
        "--alphas": "1/3",
        "--examples": "20",
        "--output": None,
    },
}
# Of the attacks of tables those that compile and run soonest.
TABLE_ATTACKS = {"table3": "fgsm", "table4": "pgd", "table5": "fgsm", "table6": "pgd"}


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    """The fenced blocks of a page, in order."""
    fences = re.finditer(r"(?ms)^( *)(`{3,}|~{3,})([^\n]*)\n(.*?)^\1\2 *$", PAGES[page])
    return [
        Block(page, PAGES[page][: m.start()].count("\n") + 1, m[3].strip(), m[4])
        for m in fences
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
WITH_PYTHON = sorted({block.page for block in BLOCKS if block.language == "python"})
COMMANDS = [
    (block, command)
    for block in BLOCKS
    if block.language == "sh"
    for command in block.text.replace("\\\n", " ").splitlines()
    if command.strip() and not command.startswith("#")
]


def test_no_block_escapes():
    assert len(PAGES) > 20 and len(BLOCKS) > 60 and len(WITH_PYTHON) >= 8
    for block in BLOCKS:
        assert block.language in ("python", "sh", "text"), block
    for page, text in PAGES.items():
        assert "TO BE FILLED" not in text, page
        count = len(re.findall(r"(?m)^ *(```|~~~)", text))
        assert count == 2 * len(blocks(page)), f"{page}: a fence without its twin"
        prose = re.sub(r"(?ms)^( *)```.*?^\1```", "", text)
        indented = re.search(r"(?m)^\n {4,}\S.*$", prose)
        assert not indented, f"{page}: a code block without a fence: {indented[0]}"


@pytest.fixture(scope="module")
def smallest_network():
    """The networks that this takes the place of are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SmallCNN", dense)
        patch.setitem(networks.MODELS, "small_cnn", dense)
        yield


def dense(num_classes=10, input_shape=(28, 28, 1), dtype=None):
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Flatten(dtype=dtype)(inputs)
    x = layers.Dense(16, activation="relu", dtype=dtype, name="features")(x)
    outputs = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="small_cnn")


@pytest.fixture(scope="module")
def begun():
    """What the first blocks of pages left behind: their text -> their names."""
    return {}


@pytest.mark.integration
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python(page, begun, smallest_network, tmp_path, monkeypatch):
    if page in NEED_TENSORFLOW and not TENSORFLOW:
        pytest.skip("needs TensorFlow")
    monkeypatch.chdir(tmp_path)
    namespace, printed = {"__name__": "__main__"}, ""
    for block in blocks(page):
        if block.language == "python":
            if block.text in begun and len(namespace) == 1:
                namespace, printed = dict(begun[block.text]), ""
                continue
            first = len(namespace) == 1
            printed = run_python(block, namespace)
            if first and not printed:
                begun[block.text] = dict(namespace)
        elif block.language == "text" and printed:
            expected, found = block.text.strip(), printed.strip()
            if page in FIGURES_DIFFER:
                expected, found = (re.sub(r"[\d.]+", "#", t) for t in (expected, found))
            assert found == expected, f"{block}: it printed\n{printed}"
            printed = ""
        else:
            printed = ""


def run_python(block, namespace):
    # A backend is chosen before Keras is imported: such a block has its own process.
    chosen = re.search(r'environ\["KERAS_BACKEND"\] = "(\w+)"', block.text)
    if chosen:
        if importlib.util.find_spec(chosen[1]) is None:
            pytest.skip(f"{chosen[1]} is not installed")
        process = subprocess.run(
            [sys.executable, "-c", block.text], capture_output=True, text=True
        )
        assert process.returncode == 0, f"{block}\n{process.stderr}"
        return process.stdout
    source = "\n" * block.line + block.text
    if block.page not in FIGURES_DIFFER:
        for pattern, smaller in SMALL_PYTHON.items():
            source = re.sub(pattern, smaller, source)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, ROOT / block.page, "exec"), namespace)
    return out.getvalue()


def parsed(command):
    """The environment's variables and the words of a command line."""
    words = shlex.split(command, comments=True)
    variables = []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        variables.append(words.pop(0).split("=")[0])
    return variables, words


def kind(words):
    if words[0] == "keras-gce":
        return "keras-gce"
    if words[0] == "python" and re.match(r"(benchmarks|examples)/", words[1]):
        return "script"
    return "export" if words[0] == "export" else "elsewhere"


def small(arguments):
    """The same command of `keras-gce`, as one that takes seconds."""
    name, rest = arguments[0], list(arguments[1:])
    if name == "demo":
        # What it calls (see cli.py), by the command that has sizes.
        name, rest = "reproduce", ["table3", "--dataset", "digits"]
    options = dict(SMALL[name])
    if name == "reproduce" and rest[0] == "figure4":
        # The same of adversarially trained models, as tests/test_figures.py has it.
        rest[0] = "figure1"
    if name == "reproduce" and rest[0] in TABLE_ATTACKS:
        options |= {"--attacks": TABLE_ATTACKS[rest[0]], "--engine": "keras_gce"}
    if rest[0] in ("table2", "figure2", "figure3"):
        options["--examples"] = None
    if rest[0] in ("figure2", "figure3"):
        options = {}
    if "--adversarial" in rest:
        options["--steps"] = "2"
    if "--source" in rest:
        options["--attacks"] = "fgsm"
    if name == "evaluate" and "--attacks" in (*rest, *options):
        # The page has curves, which take longer than the attacks.
        options["--html"] = None
    if "--dataset" in rest and rest[0] != "table4":
        options["--dataset"] = "mnist"
    for option in options:
        if option in rest:
            at = rest.index(option)
            del rest[at : at + 2]
    if name == "evaluate":
        rest[0] = "model.keras"
    given = [(option, value) for option, value in options.items() if value]
    return (name, *rest, *(word for pair in given for word in pair))


SMALL_COMMANDS = {}
for _, _command in COMMANDS:
    _variables, _words = parsed(_command)
    if kind(_words) == "keras-gce":
        SMALL_COMMANDS.setdefault(small(_words[1:]), _words[1:])


@pytest.fixture(scope="module")
def workplace(digits, smallest_network, tmp_path_factory):
    """A folder with a model, and with data: digits as MNIST, and noise."""
    folder = tmp_path_factory.mktemp("commands")
    model = dense()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(*digits.train.arrays(), batch_size=32, epochs=2, verbose=0)
    for name in ("model", "crossentropy"):
        saving.save_model(model, folder / f"{name}.keras")
    (folder / "data").mkdir()

    def save(name, train, test):
        arrays = {"x_train": train[0], "y_train": train[1]}
        arrays |= {"x_test": test[0], "y_test": test[1]}
        np.savez(folder / "data" / f"{name}.npz", **arrays)

    parts = digits.train.take(256), digits.test.take(60)
    save("mnist", *((part.images, part.labels) for part in parts))
    random = np.random.default_rng(0)
    for name, size, classes in (("cifar100", 32, 100), ("tiny_imagenet", 64, 200)):
        labels = np.arange(2 * classes) % classes
        images = random.integers(0, 256, (len(labels), size, size, 3), "uint8")
        save(name, (images, labels), (images[:20], labels[:20]))
    return folder


@pytest.mark.integration
@pytest.mark.parametrize("arguments", SMALL_COMMANDS, ids=" ".join)
@pytest.mark.filterwarnings("ignore:Training has stayed at chance")
def test_command(arguments, workplace, monkeypatch, capsys):
    if not TENSORFLOW and (arguments[0] == "tune" or "cleverhans" in arguments):
        pytest.skip("needs TensorFlow")
    # As printed it is at least understood.
    cli._parser().parse_args(SMALL_COMMANDS[arguments])
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("TFDS_DATA_DIR", str(workplace / "data"))
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    assert code == 0, captured.err
    for option in ("--output", "--html"):
        if option in arguments:
            written = workplace / arguments[arguments.index(option) + 1]
            assert written.exists()
            assert written.name in captured.out
            written.unlink()
    if "--output" not in arguments:
        folder = re.search(r"keras_gce_output/[\w-]+", captured.out)[0]
        assert any((workplace / folder).iterdir())


def test_other_commands(monkeypatch):
    used = set()
    for block, command in COMMANDS:
        variables, words = parsed(command)
        assert set(variables) <= {"KERASTUNER_TUNER_ID", "KERAS_BACKEND"}, block
        what = kind(words)
        if what == "elsewhere":
            line = command.split("  #")[0].strip()
            assert line in ELSEWHERE, f"{block}: {line}"
            used.add(line)
        elif what == "script":
            check_script(words[1], words[2:], monkeypatch)
        elif what == "export":
            for word in words[1:]:
                assert re.match(r"(KERASTUNER_ORACLE|TF_ENABLE_ONEDNN)", word), block
    assert used == set(ELSEWHERE)
    setup = (ROOT / "setup.cfg").read_text()
    for extras in re.findall(r'"\.\[(.*?)\]"', " ".join(used)):
        for extra in extras.split(","):
            assert f"\n{extra} =\n" in setup


def check_script(path, arguments, monkeypatch):
    """The script is there, and understands its arguments; it runs no further."""

    class UnderstoodError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_args(*args, **kwargs):
        parse(*args, **kwargs)
        raise UnderstoodError

    words = ["20" if word == "N" else word for word in arguments]
    with monkeypatch.context() as patch, pytest.raises(UnderstoodError):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", [path, *words])
        runpy.run_path(str(ROOT / path), run_name="__main__")


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

"""The examples as they are stored. `.ci/run` runs them."""

import ast
import configparser
import pathlib
import re

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=[path.name for path in paths])


def test_what_is_there():
    assert {path.stem for path in SCRIPTS} >= {
        "quick_start",
        "own_model",
        "own_data",
        "own_attack_loss",
        "own_objective",
        "tabular",
    }
    assert {path.stem for path in NOTEBOOKS} >= {
        "quick_start",
        "honest_evaluation",
        "adversarial_training",
        "alpha_search",
    }


@pytest.fixture(scope="module")
def address():
    """The repository's, `https://github.com/OWNER/NAME`."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    address = setup["metadata"]["url"]
    assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+", address)
    return address


@named(NOTEBOOKS)
def test_a_notebook_is_valid_and_has_not_been_run(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None


@named(NOTEBOOKS)
def test_a_notebook_opens_in_colab(path, address):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    title, badge = first.source.split("\n\n")[:2]
    assert title.startswith("# ") and "\n" not in title
    repository = address.removeprefix("https://github.com/")
    target = (
        "https://colab.research.google.com/github/"
        f"{repository}/blob/main/examples/{path.name}"
    )
    assert badge == f"[![Open In Colab]({BADGE})]({target})"


@named(NOTEBOOKS)
def test_a_notebook_installs_in_one_cell_and_only_in_colab(path, address):
    first, *others = code_cells(nbformat.read(path, as_version=4))
    says, condition, install = first.source.split("\n\n")[1].split("\n")
    assert says == "# No package index has keras_gce yet: it comes from its repository."
    assert condition == 'if "google.colab" in sys.modules:'
    assert install == f'    %pip install --quiet "keras_gce[all] @ git+{address}"'
    assert not any("pip" in cell.source.split() for cell in others)


@named(NOTEBOOKS)
def test_a_notebook_switches_its_dataset_by_one_variable(path):
    assigned = []
    for cell in code_cells(nbformat.read(path, as_version=4)):
        source = re.sub(r"^(\s*)%.*", r"\1pass", cell.source, flags=re.MULTILINE)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign):
                assigned += [
                    ast.unparse(node)
                    for target in node.targets
                    if ast.unparse(target) == "DATASET"
                ]
    assert assigned == ["DATASET = 'digits'"]


@named(SCRIPTS)
def test_a_script_says_its_command_and_is_short(path):
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert f"\n    python examples/{path.name}" in docstring
    assert "KERAS_GCE_SMALL" in docstring and '"KERAS_GCE_SMALL"' in text
    assert len(text.splitlines()) <= 80


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]

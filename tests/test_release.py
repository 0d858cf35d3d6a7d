"""What a release rests on: tag, version, changelog, and the tools' versions."""

import importlib.util
import pathlib
import re
import shutil

import pytest

import keras_gce

ROOT = pathlib.Path(__file__).parents[1]
READ = ("CHANGELOG.md", "CITATION.cff", "keras_gce/__init__.py")


def _script():
    path = ROOT / ".github" / "release_notes.py"
    spec = importlib.util.spec_from_file_location("release_notes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release_notes = _script().release_notes


def test_tag_version_and_changelog_agree():
    notes = release_notes(f"v{keras_gce.__version__}")
    assert notes.startswith("### ") and "\n## " not in notes
    assert notes in (ROOT / "CHANGELOG.md").read_text()


def test_each_section_has_a_date():
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / "CHANGELOG.md").read_text())
    assert headings[0] == "Unreleased"
    dates = [
        re.fullmatch(r"\d+\.\d+\.\d+ - (\d{4}-\d\d-\d\d)", h) for h in headings[1:]
    ]
    assert len(dates) >= 2 and all(dates), headings
    assert [d[1] for d in dates] == sorted((d[1] for d in dates), reverse=True)


@pytest.mark.parametrize(
    "file, old, new",
    [
        (None, "v", ""),
        (None, "v", "v1"),
        ("keras_gce/__init__.py", "__version__ = ", "__version__ = '9' or "),
        ("CITATION.cff", "\nversion: ", "\nversion: 9"),
        ("CHANGELOG.md", f"## {keras_gce.__version__} - ", "## "),
        ("CHANGELOG.md", "## Unreleased\n", "## 99.0.0 - 2099-01-01\n"),
    ],
)
def test_a_release_that_does_not_agree_is_refused(file, old, new, tmp_path):
    (tmp_path / "keras_gce").mkdir()
    for name in READ:
        shutil.copy(ROOT / name, tmp_path / name)
    tag = f"v{keras_gce.__version__}"
    assert release_notes(tag, tmp_path)
    if file is None:
        tag = tag.replace(old, new)
    else:
        text = (tmp_path / file).read_text()
        assert old in text
        (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="must agree"):
        release_notes(tag, tmp_path)


def test_pre_commit_has_the_ruff_of_the_gate():
    held = re.search(r"(?m)^ +ruff~=(\S+)$", (ROOT / "setup.cfg").read_text())[1]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"rev: v(\S+)", hooks) == [held]


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "keras_gce" / "py.typed").exists()
    assert "\n    py.typed\n" in (ROOT / "setup.cfg").read_text()

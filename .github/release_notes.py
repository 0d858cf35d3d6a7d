"""Prints the notes of a release, once its tag, version and changelog agree.

    python .github/release_notes.py v0.2.0

The version is that of keras_gce/__init__.py and CITATION.cff; the notes are the topmost
section of CHANGELOG.md that has a date.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]


def release_notes(tag: str, root: pathlib.Path = ROOT) -> str:
    """Returns the section of the changelog that a tag is of.

    Args:
        tag: The tag, such as "v0.2.0".
        root: Path of the repository.

    Raises:
        ValueError: If the tag, the version and the changelog do not agree.
    """
    package = (root / "keras_gce" / "__init__.py").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    # "## 0.2.0 - 2026-11-26", with all that follows up to the next heading.
    section = re.search(
        r"(?ms)^## (\d\S*) - \d{4}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog
    )
    found = {
        "the tag": tag.removeprefix("v") if tag.startswith("v") else repr(tag),
        "keras_gce/__init__.py": _only(r'^__version__ = "(.+)"$', package),
        "CITATION.cff": _only(r"^version: (\S+)$", citation),
        "the latest dated section of CHANGELOG.md": section and section[1],
    }
    if section is None or len(set(found.values())) > 1:
        raise ValueError(
            "tag, version and changelog must agree. Received: "
            + ", ".join(f"{where} {version}" for where, version in found.items())
        )
    return section[2].strip() + "\n"


def _only(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text, flags=re.MULTILINE)
    return found[0] if len(found) == 1 else None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(release_notes(sys.argv[1]), end="")
    except ValueError as error:
        sys.exit(str(error))

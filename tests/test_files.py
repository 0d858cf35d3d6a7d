"""Files that are written whole or not at all, and folders that are claimed."""

import os
import pathlib
import tempfile

import pytest

from keras_gce import files
from keras_gce.errors import InputError


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "report.json"
    files.write_text(path, "before")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        # The suffix stays, by which Keras knows a format.
        assert temporary.suffix == ".json" and path.read_text() == "before"
        raise RuntimeError
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    files.write_bytes(path, "después".encode())
    assert path.read_text(encoding="utf-8") == "después"


def test_a_folder_is_made_and_written(tmp_path):
    folder = files.output_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and not list(folder.iterdir())
    file = files.output_file(str(tmp_path / "c" / "report.json"), "report")
    assert file.parent.is_dir() and not file.exists()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_can_not_be(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"`output` .*{name}"):
        files.output_folder(tmp_path / name)


def test_what_is_no_path_is_refused(tmp_path):
    with pytest.raises(InputError, match="Received: 3"):
        files.output_folder(3)
    with pytest.raises(InputError, match="a folder"):
        files.output_file(tmp_path, "report")


@pytest.mark.parametrize("kind", files.KINDS)
def test_what_is_something_else_is_not_replaced(tmp_path, kind):
    """Whatever it is called; an empty file holds nothing to lose."""
    path = tmp_path / "output"
    path.write_bytes(b"")
    assert files.output_file(path, kind) == path
    for other in (
        b"# notes",
        b'{"schema_version": 2, "services": []}',
        b"attack,ensemble,engine,mine",
        b"<html><title>Robustness of bridges</title>",
        b"PK\x03\x04 no zip",
    ):
        path.write_bytes(other)
        with pytest.raises(InputError, match="`--x` must be .*older.*--overwrite"):
            files.output_file(path, kind, "--x")
        assert files.output_file(path, kind, overwrite=True) == path
        assert path.read_bytes() == other


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/stdout", "/dev/null", "/proc/x", tmp_path / "pipe"):
        with pytest.raises(InputError, match="regular file"):
            files.output_file(path, "report", overwrite=True)
    # A link to a file is written through, and stays a link.
    (tmp_path / "latest.json").symlink_to(tmp_path / "3.json")
    path = files.output_file(tmp_path / "latest.json", "report")
    files.write_text(path, "{}")
    assert (tmp_path / "latest.json").is_symlink()
    assert (tmp_path / "3.json").read_text() == "{}"


def test_a_full_folder_is_found_at_once(tmp_path, full):
    full(100)
    with pytest.raises(InputError, match="can be written.*File too large"):
        files.output_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_written_any_more_is_rescued(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "gone" / "report.json"
    with pytest.raises(OSError, match=r"gone/report\.json can not .* is in ") as error:
        files.write_or_rescue(path, lambda path: files.write_text(path, "{}"))
    rescued = pathlib.Path(str(error.value).split(" is in ")[-1])
    assert rescued.read_text() == "{}" and rescued.name == "report.json"


def test_where_nothing_can_be_written(tmp_path, full):
    full(100)
    with pytest.raises(OSError, match="File too large"):
        files.write_or_rescue(tmp_path / "a", lambda p: files.write_text(p, "x" * 200))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_no_folder_for_work(tmp_path):
    (tmp_path / ".hidden").write_text("")
    assert files.work_folder(tmp_path, "search.json") == tmp_path
    (tmp_path / "thesis.tex").write_text("")
    for refused in (
        lambda: files.work_folder(tmp_path, "search.json", "checkpoint"),
        lambda: files.claim(tmp_path, "search.json", {}, "checkpoint"),
    ):
        with pytest.raises(InputError, match="`checkpoint` .*thesis.tex and no search"):
            refused()
    (tmp_path / "search.json").write_text("{}")
    assert files.work_folder(tmp_path, "search.json") == tmp_path


def test_outputs_are_apart_from_inputs_and_from_each_other(tmp_path):
    model, link = tmp_path / "model.keras", tmp_path / "link.json"
    model.write_text("model")
    link.symlink_to(model)
    os.link(model, tmp_path / "hard.json")
    for outputs in (
        {"output": model},
        {"html": link},
        {"html": tmp_path / "hard.json"},
        {"output": tmp_path / "a", "html": tmp_path / "b" / ".." / "a"},
    ):
        with pytest.raises(InputError, match="a file of its own"):
            files.check_apart(outputs, {"MODEL": model})
    files.check_apart({"output": tmp_path / "a", "html": None}, {"MODEL": model})


def test_outputs_lie_outside_of_folders_that_are_read(tmp_path):
    (tmp_path / "data" / "ape").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for folder, path in (
        ("data", "data/ape/0.json"),
        ("data", "data/new/0.json"),
        ("data", "link/0.json"),
        ("link", "data/0.json"),
        ("data", "data/../data/x"),
        ("state, not made yet", "state, not made yet/evaluation.json"),
    ):
        with pytest.raises(InputError, match="`out` must lie outside .* folder of in"):
            files.check_apart({"out": tmp_path / path}, {"in": tmp_path / folder})
    files.check_apart({"out": tmp_path / "data.json"}, {"in": tmp_path / "data"})


def test_a_name_may_be_as_long_as_can_be(tmp_path):
    path = tmp_path / ("b" * 250 + ".json")
    assert files.output_file(path, "report") == path
    files.write_text(path, "{}")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InputError, match="`--x` must be a file .*too long"):
        files.output_file(tmp_path / ("b" * 300), "report", "--x")


@pytest.mark.parametrize("path", ["", "-"])
def test_what_names_no_file(path):
    with pytest.raises(InputError, match=f"Received: '{path}'"):
        files.output_file(path, "report")


def test_a_folder_is_claimed_for_its_settings(tmp_path):
    settings = {"dataset": "digits", "alphas": (0.5, 0.25), "seeds": 2}
    folder = files.claim(tmp_path / "runs", "settings.json", settings)
    assert files.claim(folder, "settings.json", settings) == folder
    with pytest.raises(InputError, match="settings: seeds=2 rather than 3"):
        files.claim(folder, "settings.json", settings | {"seeds": 3})
    with pytest.raises(InputError, match="examples=None rather than 5"):
        files.claim(folder, "settings.json", settings | {"examples": 5})

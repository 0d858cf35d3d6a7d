"""Files that are written whole or not at all, and folders that are claimed."""

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
    file = files.output_file(str(tmp_path / "c" / "report.json"))
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
        files.output_file(tmp_path)


def test_outputs_are_apart_from_inputs_and_from_each_other(tmp_path):
    model, link = tmp_path / "model.keras", tmp_path / "link.json"
    model.write_text("model")
    link.symlink_to(model)
    for outputs in (
        {"output": model},
        {"html": link},
        {"output": tmp_path / "a", "html": tmp_path / "b" / ".." / "a"},
    ):
        with pytest.raises(InputError, match="a file of its own"):
            files.check_apart(outputs, {"MODEL": model})
    files.check_apart({"output": tmp_path / "a", "html": None}, {"MODEL": model})


def test_a_folder_is_claimed_for_its_settings(tmp_path):
    settings = {"dataset": "digits", "alphas": (0.5, 0.25), "seeds": 2}
    folder = files.claim(tmp_path / "runs", "settings.json", settings)
    assert files.claim(folder, "settings.json", settings) == folder
    with pytest.raises(InputError, match="settings: seeds=2 rather than 3"):
        files.claim(folder, "settings.json", settings | {"seeds": 3})
    with pytest.raises(InputError, match="examples=None rather than 5"):
        files.claim(folder, "settings.json", settings | {"examples": 5})

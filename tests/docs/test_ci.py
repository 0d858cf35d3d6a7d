"""The workflow in docs/guides/ci.md, run."""

import re
import shlex

import keras
import numpy as np
import pytest
import yaml
from pages import BLOCKS, ROOT, dense

from keras_gce import cli, saving


@pytest.fixture(scope="module")
def steps():
    (block,) = (b for b in BLOCKS if b.page.endswith("ci.md") and b.language == "yaml")
    return yaml.safe_load(block.text)["jobs"]["gate"]["steps"]


def test_what_is_installed_is_there(steps):
    (install,) = (s["run"] for s in steps if "pip install" in s.get("run", ""))
    extras = re.search(r"keras_gce\[(.*?)\]", install)[1].split(",")
    setup = (ROOT / "setup.cfg").read_text()
    assert all(f"\n{extra} =\n" in setup for extra in extras)


@pytest.mark.integration
def test_the_gate(steps, digits, tmp_path, monkeypatch, capsys):
    (command,) = (s["run"] for s in steps if s.get("run", "").startswith("keras-gce"))
    words = shlex.split(command)
    monkeypatch.chdir(tmp_path)
    test = digits.test.take(40)
    np.savez("test.npz", x_test=test.images, y_test=test.labels)
    model = dense()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.set_weights([0 * weights for weights in model.get_weights()])
    saving.save_model(model, "model.keras")
    assert words[0] == "keras-gce"
    # It answers the same for all: neither gate holds, and the page is there.
    assert cli.main(words[1:]) == 3
    lines = capsys.readouterr().err
    assert "gate: --fail-under 30: the worst case is" in lines
    assert re.search(r"gate: --fail-on-flag: .*constant_outputs", lines)
    (upload,) = (s for s in steps if "upload" in s.get("uses", ""))
    assert upload["if"] == "always()"
    for path in upload["with"]["path"].split():
        assert (tmp_path / path).stat().st_size

"""The commands of README, CONTRIBUTING and docs/: run at small scale, or elsewhere."""

import argparse
import re
import runpy
import sys

import keras
import numpy as np
import pytest
from pages import COMMANDS, ROOT, TENSORFLOW, dense, kind, parsed, smallest_network

from keras_gce import cli, losses, saving
from keras_gce.attacks import FGSM
from keras_gce.evaluation import evaluate

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
    "KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 .venv/bin/python -m pytest "
    "-m seam": ".ci/run, jax and torch",
    ".venv/bin/ruff check . && .venv/bin/ruff format .": ".ci/run, ruff",
    ".venv/bin/mypy": ".ci/run, mypy",
    ".venv/bin/zensical build --strict": "tests/docs/test_site.py",
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
        "--awp": None,
        "--tensorboard": None,
        "--output": "trained.keras",
    },
    "evaluate": {
        "--eps": "0.1",
        "--examples": "20",
        "--output": "made.json",
        "--html": "made.html",
        "--steps": None,
        "--restarts": None,
        "--import": None,
        # Those of Ray: tests/test_workers.py.
        "--workers": None,
        "--ray": None,
        "--checkpoint": None,
    },
    "merge": {"--output": "made.json", "--html": "made.html"},
    "report": {},
    "compare": {},
    "reproduce": {
        "--epochs": "1",
        "--seeds": "1",
        "--seed": None,
        "--model": "small_cnn",
        "--examples": "20",
        "--output": None,
        "--workers": None,
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
VARIABLES = {
    "KERASTUNER_TUNER_ID",
    "KERAS_BACKEND",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "TF_ENABLE_ONEDNN_OPTS",
    "KERAS_DISTRIBUTION_PROCESS_ID",
    "RANK",
    "XLA_FLAGS",
}
EXPORTED = r"(KERASTUNER_ORACLE|KERAS_DISTRIBUTION|MASTER|WORLD_SIZE|TF_ENABLE_ONEDNN)"
TABLE_ATTACKS = {"table3": "fgsm", "table4": "pgd", "table5": "fgsm", "table6": "pgd"}

__all__ = ["smallest_network"]


def small(arguments):
    """The same command of `keras-gce`, as one that takes seconds."""
    name, rest = arguments[0], list(arguments[1:])
    if name == "demo":
        # What it calls (see cli.py), by the command that has sizes.
        name, rest = "reproduce", ["table3", "--dataset", "digits"]
    options = dict(SMALL[name])
    if name == "reproduce" and rest[0] in ("figure4", "outer_loss"):
        # The same of adversarially trained models, as tests/recipes/test_figures.py
        # and test_outer_loss.py have them.
        rest[0] = "figure1"
        options["--train-images"] = None
    if name == "reproduce" and rest[0] in TABLE_ATTACKS:
        options |= {"--attacks": TABLE_ATTACKS[rest[0]], "--engine": "keras_gce"}
    if rest[0] in ("table2", "figure2", "figure3"):
        options["--examples"] = None
    if rest[0] in ("figure2", "figure3"):
        options = {}
    if "fast" in rest:
        options |= {"--eps": None}
    elif "--adversarial" in rest:
        options |= {"--steps": "2", "--eps": None}
    if "--source" in rest or "--fail-under" in rest:
        options["--attacks"] = "fgsm"
    if "--part" in rest:  # Of 20 images.
        options |= {"--part": "1/2", "--batch-size": "10"}
    if name == "evaluate" and "--attacks" in (*rest, *options):
        # The page has curves, which take longer than the attacks.
        options["--html"] = None
    if "--dataset" in rest and rest[0] != "table4":
        options |= {"--dataset": "mnist", "--image-size": None}
    if "--models" in rest:  # Nothing is trained.
        del rest[rest.index("--models") :]
        rest += ["--models", "crossentropy.keras", "gce.keras"]
        for option in ("--epochs", "--seeds", "--model"):
            options.pop(option, None)
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
    model.compile("adam", losses.GuidedComplementEntropy(from_logits=True))
    saving.save_model(model, folder / "gce.keras")
    test = digits.test.take(20).arrays()
    for name in ("report", "other"):
        report = evaluate(model, test, FGSM(eps=0.1), progress=False, diagnostics=False)
        (folder / f"{name}.json").write_text(report.to_json())
    for i in (1, 2):
        settings = {"batch_size": 10, "diagnostics": False, "part": (i, 2)}
        part = evaluate(model, test, FGSM(eps=0.1), progress=False, **settings)
        (folder / f"part{i}.json").write_text(part.to_json())
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
    # A gate may not hold of a model of two epochs.
    assert code in ((0, 3) if "--fail-under" in arguments else (0,)), captured.err
    for option in ("--output", "--html", "--csv", "--latex", "--markdown"):
        if option in arguments:
            written = workplace / arguments[arguments.index(option) + 1]
            assert written.exists()
            assert written.name in captured.out
            written.unlink()
    if "--output" not in arguments and arguments[0] not in ("report", "compare"):
        folder = re.search(r"keras_gce_output/[\w-]+", captured.out)[0]
        assert any((workplace / folder).iterdir())


def test_other_commands(monkeypatch):
    used = set()
    for block, command in COMMANDS:
        variables, words = parsed(command)
        assert set(variables) <= VARIABLES, block
        what = kind(words)
        if what == "elsewhere":
            line = command.split("  #")[0].strip()
            assert line in ELSEWHERE, f"{block}: {line}"
            used.add(line)
        elif what == "script":
            check_script(words[1], words[2:], monkeypatch)
        elif what == "export":
            for word in words[1:]:
                assert re.match(EXPORTED, word), block
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

"""What `import keras_gce` loads, and that saved models load after it alone.

Keras first and then `keras_gce` is in tests/losses/test_classes.py.
"""

import importlib.util
import os
import subprocess
import sys
import threading

import keras
import pytest

from keras_gce import errors, imports, losses, registration

HEAVY = ("tensorflow", "jax", "torch", "keras", "matplotlib", "sklearn", "keras_tuner")

LIGHT = f"""
import sys
heavy = set({HEAVY!r})
import keras_gce, keras_gce.names, keras_gce.errors
from keras_gce import cli
try:
    cli.main(["evaluate", "--help"])
except SystemExit as stop:
    assert stop.code == 0
assert cli.main(["train"]) == 2
assert not (heavy | {{"numpy"}}) & set(sys.modules), sys.modules
import keras_gce.files, keras_gce.plotting
# The losses come while Keras is imported: what they need may not wait for it.
import keras_gce.checks
assert not heavy & set(sys.modules), sys.modules
"""


def test_what_has_to_be_light_is():
    subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["fly"], 2), (["train"], 2)]
)
def test_the_program_answers_without_keras(arguments, code):
    # -X importtime names every module that is imported.
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "keras_gce", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == code
    assert "keras_gce.cli" in process.stderr
    for heavy in ("tensorflow", "| keras\n", "numpy"):
        assert heavy not in process.stderr


BARE = """
import os, sys
for name in ("tensorflow", "jax", "torch"):
    sys.modules[name] = None  # As if it were not installed.
import keras_gce
from keras_gce import cli

def line(name):
    try:
        getattr(keras_gce, name)
    except ImportError as error:
        assert error.__context__ is None or error.__suppress_context__
        assert type(error).__name__ == "BackendError"
        return str(error)

assert cli.main(["demo", "--output", sys.argv[1]]) == 2
found = {line(name) for name in ("losses", "attacks", "evaluate")}
assert len(found) == 1, found
print(*found)
del sys.modules["torch"]
print(line("losses"))
# The next try, as in a notebook. NumPy's loads sooner than the others; it asks for JAX.
del sys.modules["jax"]
os.environ["KERAS_BACKEND"] = "numpy"
print(type(keras_gce.losses.ComplementEntropy()).__name__)
print(line("attacks"))
"""


@pytest.mark.integration
def test_without_a_backend_there_is_one_line(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    # Where Keras keeps the backend of who has chosen none.
    environment["KERAS_HOME"] = str(tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", BARE, str(tmp_path / "demo")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    none, torch, loss, numpy = process.stdout.splitlines()
    needs = "keras_gce needs a Keras backend: "
    assert none.startswith(f'{needs}pip install "keras_gce[tensorflow]", or "keras_gce')
    assert "Received: no KERAS_BACKEND, for which Keras takes tensorflow" in none
    assert process.stderr == f"keras-gce: error: {none}\n"
    assert torch.startswith(f"{needs}torch is installed, set KERAS_BACKEND=torch.")
    assert loss == "ComplementEntropy"
    assert numpy.endswith("Received: KERAS_BACKEND=numpy")


@pytest.mark.parametrize(
    ("asked", "missing", "line"),
    [
        ("torch", "torch.utils", "is installed, set KERAS_BACKEND="),
        ("openvino", "openvino", "Received: KERAS_BACKEND=openvino, and no openvino"),
        ("numpy", "jax", None),
        ("tensorflow", "tensorflow", None),
        (None, "google.protobuf", None),
    ],
)
def test_a_backend_that_is_broken_keeps_its_error(asked, missing, line, monkeypatch):
    if asked is None:
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
    else:
        monkeypatch.setenv("KERAS_BACKEND", asked)
    if line is not None:
        monkeypatch.setitem(sys.modules, asked, None)
    own = ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    with pytest.raises(ImportError) as caught, registration._with_losses():
        raise own
    if line is None:
        assert caught.value is own
    else:
        assert isinstance(caught.value, errors.BackendError)
        assert line in str(caught.value)


LOAD = """
import os, pickle, sys
import {first}
# NumPy's, which loads sooner than the others.
os.environ["KERAS_BACKEND"] = "numpy"
{then}
import keras
assert keras.backend.backend() == "numpy"
model = keras.saving.load_model(sys.argv[1])
assert type(model.loss).__name__ == "GuidedComplementEntropy", model.loss
assert model.loss.alpha == 0.25
assert type(pickle.loads(pickle.dumps(model.loss))) is type(model.loss)
waiting = [f for f in sys.meta_path if type(f).__module__ == "keras_gce.imports"]
assert not waiting, waiting
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("keras_gce", ""),
        # The losses themselves ask for Keras.
        ("keras_gce.cli", "from keras_gce.losses import complement_entropy"),
    ],
)
def test_a_saved_model_loads(first, then, tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.compile(loss=losses.GuidedComplementEntropy(0.25, from_logits=True))
    model.save(tmp_path / "model.keras")
    code = LOAD.format(first=first, then=then)
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")], check=True
    )


@pytest.fixture
def no_keras(monkeypatch, tmp_path):
    """As if Keras were not loaded yet, and were a file in `tmp_path`; counts losses."""
    imported = []
    # The file may change within the second that a cache can tell apart.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(
        registration, "_import_losses", lambda: imported.append(sys.modules["keras"])
    )
    monkeypatch.delitem(sys.modules, "keras")
    yield imported
    sys.modules.pop("keras", None)


def write_keras(tmp_path, text):
    (tmp_path / "keras.py").write_text(text)
    importlib.invalidate_caches()


def waiting():
    return [f for f in sys.meta_path if isinstance(f, imports._Finder)]


def test_losses_come_right_after_keras(no_keras, tmp_path):
    write_keras(tmp_path, "name = __name__")
    registration.register_losses()
    registration.register_losses()  # As when `keras_gce` is reloaded.
    assert len(waiting()) == 1
    # To look for it is not to load it.
    spec = importlib.util.find_spec("keras")
    assert spec.origin == str(tmp_path / "keras.py")
    assert not no_keras and "keras" not in sys.modules and len(waiting()) == 1
    module = importlib.import_module("keras")
    assert no_keras == [module] and module.name == "keras" and not waiting()
    # It looks as if nobody had stood in between.
    assert module.__loader__ is module.__spec__.loader
    assert isinstance(module.__loader__, importlib.machinery.SourceFileLoader)
    importlib.reload(module)
    assert no_keras == [module]
    registration.register_losses()
    assert no_keras == [module, module] and not waiting()


def test_where_keras_fails_the_error_is_its_own(no_keras, tmp_path):
    registration.register_losses()
    with pytest.raises(ModuleNotFoundError, match="No module named 'keras'"):
        importlib.import_module("keras")
    write_keras(tmp_path, "raise ImportError('no backend')")
    for _ in range(2):
        with pytest.raises(ImportError, match="no backend"):
            importlib.import_module("keras")
    assert not no_keras and "keras" not in sys.modules
    write_keras(tmp_path, "")
    assert no_keras == [importlib.import_module("keras")]


def test_a_folder_called_keras_is_left_alone(no_keras, tmp_path):
    (tmp_path / "keras").mkdir()
    registration.register_losses()
    assert importlib.import_module("keras").__file__ is None
    assert not no_keras


def test_many_threads_import_keras_at_once(no_keras, tmp_path):
    write_keras(tmp_path, "import time; time.sleep(0.05)")
    registration.register_losses()
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append((importlib.import_module("keras"), *no_keras))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(sys.modules["keras"], sys.modules["keras"])] * 8

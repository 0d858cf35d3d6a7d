"""Models and weights: kept whole, and loaded with one kind of error."""

import runpy
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_gce import losses, saving
from keras_gce.errors import InputError


def compiled():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile("adam", losses.GuidedComplementEntropy(from_logits=True))
    return model


def fit(model, epochs=1):
    x, y = np.eye(3, dtype="float32"), np.arange(3)
    # In one order, or the last bits differ.
    model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
    return model


def same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("epochs", [None, 7])
def test_a_model_and_its_epochs(tmp_path, epochs):
    model = fit(compiled())
    saving.save_model(model, tmp_path / "model.keras", epochs)
    assert saving.epochs_of(tmp_path / "model.keras") == epochs
    loaded = saving.load_model(tmp_path / "model.keras")
    same(loaded, model)
    assert loaded.loss.get_config() == model.loss.get_config()
    # Keras knows nothing of the epochs, and doesn't mind.
    same(keras.models.load_model(tmp_path / "model.keras"), model)


def test_epochs_of_what_is_no_such_file(tmp_path):
    (tmp_path / "nonsense.keras").write_text("no archive")
    for name in ("nonsense.keras", "missing.keras"):
        assert saving.epochs_of(tmp_path / name) is None


def test_files_are_whole_or_absent(tmp_path):
    class Model:
        def save(self, path):
            path.write_text("half")
            raise RuntimeError

    (tmp_path / "a.keras").write_text("before")
    with pytest.raises(RuntimeError):
        saving.save_model(Model(), tmp_path / "a.keras")
    assert (tmp_path / "a.keras").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.keras"]


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "nonsense.keras").write_text("no model")
    for name, received in (("nonsense.keras", "loads here"), ("a.keras", "no file")):
        with pytest.raises(InputError, match=received) as error:
            saving.load_model(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_training_goes_on_from_its_weights(tmp_path):
    path = tmp_path / "training.weights.h5"
    model = fit(compiled(), 2)
    saving.save_weights(model, path, epochs=2, steps=7)
    other = compiled()
    assert saving.load_weights(other, path) == (2, 7)
    same(other, model)
    # Adam's moments and steps are in it: both go on alike.
    same(fit(other), fit(model))


def test_weights_without_epochs_or_of_another_model(tmp_path):
    model = fit(compiled())
    path = tmp_path / "plain.weights.h5"
    model.save_weights(path)
    assert saving.load_weights(compiled(), path) == (None, 0)
    wide = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    wide.compile("adam", "mse")
    for wrong in (path, tmp_path / "missing.weights.h5"):
        with pytest.raises(InputError, match="weights of this model") as error:
            saving.load_weights(wide, wrong)
        assert "\n" not in str(error.value)


LAYERS = """
import keras
from helper import factor


@keras.saving.register_keras_serializable(package="own")
class Registered(keras.layers.Layer):
    def call(self, x):
        return factor * x


class Plain(Registered):
    pass


def swish3(x):
    return factor * x


def strange_loss(y, z):
    return keras.ops.mean(z, axis=-1)
"""


@pytest.fixture
def layers(tmp_path, monkeypatch):
    """Makes modules with layers, and forgets what Keras knows of them."""
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    known = dict(keras.saving.get_custom_objects())

    def forget():
        for name in set(sys.modules) - set(before):
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        keras.saving.get_custom_objects().clear()
        keras.saving.get_custom_objects().update(known)

    def make(folder="."):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "layers.py").write_text(LAYERS)
        (tmp_path / folder / "helper.py").write_text("factor = 3")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            return runpy.run_path(str(tmp_path / folder / "layers.py"))

    make.forget = forget
    yield make
    forget()


def saved(path, *layers, **settings):
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(4)])
    if settings:
        model.compile("sgd", **settings)
    model.save(path)
    return model


KINDS = ("Registered", "Plain", "swish3")


def of_kind(kind, module):
    value = module[kind]
    return keras.layers.Activation(value) if kind == "swish3" else value()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["layers.py", "layers", "absolute"])
def test_layers_of_a_module(layers, tmp_path, kind, given):
    model = saved("own.keras", of_kind(kind, layers()))
    layers.forget()
    with pytest.raises(InputError, match=f"the module that has .*{kind}") as caught:
        saving.load_model("own.keras")
    assert "`imports`" in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    path = list(sys.path)
    given = str(tmp_path / "layers.py") if given == "absolute" else given
    loaded = saving.load_model("own.keras", imports=[given])
    assert sys.path == path
    x = np.eye(3, dtype="float32")
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (model, loaded)))
    # A second model of the same file: no class has a twin.
    again = saving.load_model("own.keras", imports=[given])
    assert type(again.layers[0]) is type(loaded.layers[0])


def test_a_file_takes_no_place_of_a_module(layers, tmp_path):
    saved("own.keras", layers("deep")["Plain"]())
    layers.forget()
    (tmp_path / "deep" / "layers.py").rename(tmp_path / "deep" / "json.py")
    saving.load_model("own.keras", imports=["deep/json.py"])
    assert sys.modules["json"].loads("1") == 1


@pytest.mark.parametrize(
    ("given", "text", "received"),
    [
        ("none.py", None, "FileNotFoundError"),
        ("none_of_it", None, "No module named 'none_of_it'"),
        ("broken.py", "import keras\nraise RuntimeError('a\\nb')", "RuntimeError: a b"),
        ("ends.py", "raise SystemExit(3)", "SystemExit: 3"),
        ("syntax.py", "def :", "SyntaxError"),
        ("relative.py", "from . import x", "ImportError"),
    ],
)
def test_modules_that_cannot_be_imported(layers, tmp_path, given, text, received):
    saved("plain.keras")
    if text:
        (tmp_path / given).write_text(text)
    for _ in range(2):  # What failed once is not taken for done.
        with pytest.raises(InputError, match=f"`imports` .*{received}") as caught:
            saving.load_model("plain.keras", imports=[given])
        assert "\n" not in str(caught.value)


def test_a_lambda_is_loaded_on_trust_alone(tmp_path):
    path = tmp_path / "lambda.keras"
    model = saved(path, keras.layers.Lambda(lambda x: 3 * x))
    with pytest.raises(InputError, match=r"`trust` loads it, and runs the code"):
        saving.load_model(path)
    x = np.eye(3, dtype="float32")
    loaded = saving.load_model(path, trust=True)
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (model, loaded)))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("kind", ["loss", "metric", "lambda"])
def test_a_loss_that_cannot_be_had_leaves_the_model(layers, kind):
    own = layers()["strange_loss"]
    settings = {
        "loss": {"loss": own},
        "metric": {"loss": "mse", "metrics": [own]},
        "lambda": {"loss": lambda y, z: keras.ops.mean(z, axis=-1)},
    }
    model = saved("own.keras", **settings[kind])
    layers.forget()
    cure = "`trust` loads it" if kind == "lambda" else "`imports`.* has strange_loss"
    with pytest.warns(UserWarning, match=f"own.keras was loaded uncompiled.*{cure}"):
        loaded = saving.load_model("own.keras")
    assert not loaded.compiled
    same(loaded, model)
    options = {"trust": True} if kind == "lambda" else {"imports": ["layers"]}
    assert saving.load_model("own.keras", **options).compiled


@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("saved_model", "a SavedModel of TensorFlow"),
        ("folder", "folder, a folder"),
        ("a.weights.h5", "weights alone"),
        ("weights.h5", "these are weights alone"),
        ("broken.h5", "OSError"),
        ("model.pt", "a file of another kind"),
        ("model.zip", "rename it so that it ends in .keras"),
        ("pointer.keras", "no archive of Keras"),
        ("cut.keras", "no archive of Keras"),
        ("other.keras", "KeyError"),
    ],
)
def test_what_is_no_keras_file(tmp_path, name, received):
    path = tmp_path / name
    model = saved(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    if name == "saved_model":
        path.mkdir()
        (path / "saved_model.pb").touch()
    elif name == "folder":
        path.mkdir()
    elif name.endswith("weights.h5"):
        model.save_weights(tmp_path / "a.weights.h5")
        (tmp_path / "a.weights.h5").replace(path)
    elif name == "other.keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", "y")
    elif name == "pointer.keras":
        path.write_text("version https://git-lfs.github.com/spec/v1")
    else:
        path.write_bytes(whole[:-50] if name == "cut.keras" else whole)
    with pytest.raises(InputError, match=received) as caught:
        saving.load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_h5_of_a_whole_model(tmp_path):
    model = saved(tmp_path / "model.h5")
    same(saving.load_model(tmp_path / "model.h5"), model)

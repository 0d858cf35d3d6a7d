"""Tables and figures of models that exist."""

import dataclasses
import json

import keras
import pytest
from recipes import tiny

from keras_gce import losses, recipes
from keras_gce.errors import InputError
from keras_gce.recipes import given

ALL = "cross-entropy, COT, GCE (alpha 1/3)"
FAST = {"engine": "keras_gce", "attacks": ["fgsm"], "progress": False}


def saved(path, loss, notes=None):
    """A model of the tests' network, compiled with a loss; not trained."""
    keras.utils.set_random_seed(len(path.name))
    model = tiny.dense(10, (28, 28, 1), "float32")
    if loss is not None:
        model.compile("sgd", loss)
    model.save(path)
    if notes is not None:
        path.with_suffix(".json").write_text(json.dumps(notes))
    return path


@pytest.fixture
def crossentropy(tmp_path):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return saved(tmp_path / "xe.keras", loss)


@pytest.fixture
def gce(tmp_path):
    loss = losses.GuidedComplementEntropy(from_logits=True)
    return saved(tmp_path / "gce.keras", loss)


@pytest.fixture
def cot(tmp_path):
    """Compiled with cross-entropy, as the wrapper does; the JSON says what it is."""
    notes = {"recipe": dataclasses.asdict(tiny.recipe("cot")), "seed": 4}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return saved(tmp_path / "cot.keras", loss, notes)


def given_models(paths, wanted):
    return list(given.given_models(paths, wanted, tiny.data()))


def columns(*names):
    return [tiny.recipe(name) for name in names]


THREE = ("crossentropy", "cot", "guided_complement_entropy")


def test_in_any_order(crossentropy, gce, cot):
    found = given_models([gce, cot, crossentropy], columns(*THREE))
    assert [one.loss for one in found] == list(THREE)
    assert [one.path for one in found] == [str(p) for p in (crossentropy, cot, gce)]
    assert "`cot.keras`" in found[1].described
    assert "small_cnn, 3 epochs, seed 4" in found[1].described
    assert "not said beside it" in found[0].described
    assert len({one.name for one in found}) == 3


def test_what_nothing_tells_apart_stands_in_the_order_given(crossentropy, gce, cot):
    cot.with_suffix(".json").unlink()
    paths = [cot, crossentropy, gce]
    found = given_models(paths, columns(*THREE))
    assert [one.path for one in found] == [str(path) for path in paths]


def test_each_way_to_write_a_loss(tmp_path, gce):
    """By its values, not by its name: softmax, a name, another reduction."""
    inputs = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10, "softmax")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    for number, loss in enumerate(
        ("sparse_categorical_crossentropy", keras.losses.CategoricalCrossentropy())
    ):
        model.compile("sgd", loss)
        path = tmp_path / f"{number}.keras"
        model.save(path)
        one, _ = given_models([gce, path], columns("crossentropy", THREE[2]))
        assert one.path == str(path)


def test_refused(crossentropy, gce, cot, tmp_path):
    third = losses.GuidedComplementEntropy(1 / 2, from_logits=True)
    smoothed = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1
    )
    for paths, names, received in (
        ([gce, gce], THREE[::2], "gce.keras.*one too many"),
        ([], THREE[::2], "Received: none"),
        ([crossentropy, gce, gce], THREE[::2], "one too many"),
        ([cot, gce], THREE[::2], "COT on digits, says its JSON"),
        ([saved(tmp_path / "half.keras", third), gce], THREE[::2], "half.keras"),
        ([saved(tmp_path / "soft.keras", smoothed), gce], THREE[::2], "soft.keras"),
        ([saved(tmp_path / "none.keras", None), gce], THREE[::2], "not compiled"),
        ([tmp_path / "missing.keras", gce], THREE[::2], "no file"),
    ):
        with pytest.raises(InputError, match=received) as error:
            given_models(paths, columns(*names))
        assert "\n" not in str(error.value)


def test_other_images_or_classes_are_refused(tmp_path):
    for shape, classes in (((32, 32, 3), 10), ((28, 28, 1), 11)):
        model = tiny.dense(classes, shape, "float32")
        model.compile("sgd", losses.GuidedComplementEntropy(from_logits=True))
        model.save(tmp_path / "other.keras")
        with pytest.raises(InputError, match=r"digits.*other\.keras") as error:
            given_models([tmp_path / "other.keras"], columns(THREE[2]))
        assert "\n" not in str(error.value)


def test_a_json_file_that_contradicts_the_model_is_refused(gce):
    notes = {"recipe": dataclasses.asdict(tiny.recipe("crossentropy"))}
    gce.with_suffix(".json").write_text(json.dumps(notes))
    with pytest.raises(InputError, match=r"not compiled with cross-entropy"):
        given_models([gce], columns("guided_complement_entropy"))


@pytest.mark.parametrize("text", ["[1]", "{", '{"recipe": 3}', '{"recipe": {}}'])
def test_another_json_file_says_nothing(gce, text):
    gce.with_suffix(".json").write_text(text)
    (one,) = given_models([gce], columns("guided_complement_entropy"))
    assert "not said" in one.described


def test_radii_by_the_json_else_in_order(tmp_path, crossentropy):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wanted = [tiny.adversarial(eps=eps) for eps in (0.04, 0.08)]
    notes = {"recipe": dataclasses.asdict(wanted[1])}
    wide = saved(tmp_path / "wide.keras", loss, notes)
    narrow, other = given_models([wide, crossentropy], wanted)
    assert (narrow.eps, other.eps) == (0.04, 0.08)
    assert (narrow.path, other.path) == (str(crossentropy), str(wide))
    assert "eps 0.08" in other.described and "eps0.08" in other.name


def test_table_3(few, crossentropy, gce, tmp_path):
    output = tmp_path / "out"
    paths = [gce, str(crossentropy)]
    table = recipes.reproduce("table3", "digits", output, models=paths, **FAST)
    head = table.to_markdown().splitlines()[0]
    assert "xe.keras" in head and "gce.keras" in head and "1 seed(s), 40 test" in head
    again = recipes.reproduce("table3", "digits", output, models=paths, **FAST)
    assert again.to_markdown() == table.to_markdown()
    assert (output / "table3.json").exists()
    assert json.loads((output / "table3.json").read_text())["runs"][0]["recipe"][
        "path"
    ] == str(crossentropy)


def test_a_run_of_ones_own(few, data, tmp_path, gce):
    """Its `recipe.json` lies in its folder."""
    recipe = tiny.recipe("crossentropy", epochs=1)
    recipes.trainer.trained(recipe, data, 3, tmp_path / "run", False)
    paths = [tmp_path / "run" / "model.keras", gce]
    table = recipes.reproduce("table3", "digits", tmp_path, models=paths, **FAST)
    assert "small_cnn, 1 epochs, seed 3" in table.to_markdown()


def test_table_2_of_some(few, crossentropy, tmp_path):
    loss = losses.GuidedComplementEntropy(1 / 4, from_logits=True)
    paths = [saved(tmp_path / "quarter.keras", loss), crossentropy]
    table = recipes.reproduce_table2("digits", tmp_path, models=paths, progress=False)
    head, _, *rows = table.to_markdown().splitlines()
    assert "GCE (alpha 0.25): `quarter.keras`" in head
    assert [row.endswith("| – |") for row in rows[2:]] == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_a_table_of_one_model(few, gce, tmp_path):
    table = recipes.reproduce("table3", "digits", tmp_path, models=[gce], **FAST)
    assert "| FGSM | 0.1 | 87.66 | " in table.to_markdown()


@pytest.mark.integration
def test_figure_1(few, crossentropy, gce, tmp_path):
    pytest.importorskip("matplotlib")
    figure = recipes.reproduce_figure(
        "figure1", "digits", tmp_path, models=[crossentropy, gce], progress=False
    )
    assert "`gce.keras`" in figure.to_markdown()
    assert (tmp_path / "figure1.png").exists()


def test_a_recipe_of_an_earlier_version_is_known(tmp_path):
    """Files have a field that came later only where it is set."""
    recipe = recipes.recipe_for("digits", "crossentropy", adversarial=True, eps=0.1)
    assert not {"awp", "ema"} & set(recipe.settings)
    assert given._recipe({"recipe": recipe.settings}) == recipe
    later = dataclasses.replace(recipe, awp=0.01, ema=2.0)
    assert given._recipe(later.settings) == later
    assert given._recipe({"dataset": "digits"}) is None

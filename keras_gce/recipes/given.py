"""Models that exist, whoever trained them, in the places of a table's or a figure's."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from keras_gce import saving
from keras_gce.classifier import Classifier
from keras_gce.datasets import Dataset
from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.recipes import networks
from keras_gce.recipes.recipe import LATER, Recipe
from keras_gce.recipes.reproduction import LOSS_NAMES
from keras_gce.recipes.trainer import SETTINGS

__all__ = ["GivenModel", "Source", "described", "given_models"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model that exists, where a recipe's would be trained.

    Args:
        dataset: Name of the dataset.
        loss: What it was trained with, a name of `names.LOSSES`.
        alpha: Exponent of GCE's guiding factor; the other losses have none.
        eps: Radius of its adversarial training; `None` for natural images.
        path: Path of its file.
        digest: SHA-256 of the file.
        provenance: How it was trained, in words, or that nothing says so.
        origin: The same in a few words.
    """

    dataset: str
    loss: str
    alpha: float | None
    eps: float | None
    path: str
    digest: str
    provenance: str
    origin: str

    @property
    def name(self) -> str:
        """What tells it from all other models: a name for folders."""
        eps = "" if self.eps is None else f"-eps{self.eps:g}"
        return f"{self.loss}{eps}-given-{self.digest[:8]}"

    @property
    def described(self) -> str:
        """Which file it is and where it comes from, in words."""
        file = pathlib.Path(self.path).name
        return (
            f"{_words(self)}: `{file}` (SHA-256 {self.digest[:8]}; {self.provenance})"
        )

    @property
    def version(self) -> str:
        """What tells it from earlier ones in its folder: nothing, there are none."""
        return ""

    def brief(self, seed: int) -> str:
        """Returns where it comes from in a few words, for a picture's title."""
        return self.origin

    def folder(self, seed: int) -> str:
        """Returns the name of the folder for what comes of it."""
        return self.name


# What a row or a column is of: what is trained, or what is there.
Source: TypeAlias = Recipe | GivenModel


def described(sources: Iterable[Source]) -> str:
    """Returns what the columns of a table are of, once where it is the same."""
    return "; ".join(dict.fromkeys(source.described for source in sources))


def given_models(
    paths: Sequence[PathLike], recipes: Sequence[Recipe], dataset: Dataset
) -> dict[GivenModel, keras.Model]:
    """Loads the models of some files, in the order of the recipes they stand for.

    A model's loss is the one that it is compiled with. Complement objective training
    compiles with cross-entropy, and the radius of adversarial training is not in a
    model: these are known from a JSON file beside it (its own name with `.json`, or
    `recipe.json`), which a training here writes, and else taken from the order in which
    the models were given.

    Args:
        paths: Paths of `.keras` files, at most one for each recipe, in any order.
        recipes: What a table trains.
        dataset: The `Dataset` whose images they take.

    Raises:
        InputError: If there is none, or one can't be loaded or takes other images or
            classes, or its loss has no place.
    """
    wanted = ", ".join(_words(recipe) for recipe in recipes)
    if not paths:
        raise InputError(f"`models` must be one or more of: {wanted}. Received: none")
    found = [_Found.of(path, dataset) for path in paths]
    chosen: dict[Recipe, _Found] = {}
    # Whose JSON file says what they are first: they leave no choice.
    for one in sorted(found, key=lambda one: one.recipe is None):
        for recipe in recipes:
            if recipe not in chosen and one.fits(recipe):
                chosen[recipe] = one
                break
        else:
            raise InputError(
                f"`models` must be at most one for each of: {wanted}. "
                f"Received: {one.path}, {one.words}"
            )
    return {
        chosen[recipe].standing_for(recipe): chosen[recipe].classifier.model
        for recipe in recipes
        if recipe in chosen
    }


def _words(recipe: Recipe | GivenModel) -> str:
    words = LOSS_NAMES[recipe.loss]
    if recipe.alpha not in (None, 1 / 3):
        words = f"GCE (alpha {recipe.alpha:.3g})"
    return words if recipe.eps is None else f"{words} at eps {recipe.eps:g}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """A file, and what it and the JSON beside it say."""

    path: pathlib.Path
    classifier: Classifier
    recipe: Recipe | None
    notes: dict[str, Any]

    @classmethod
    def of(cls, path: PathLike, dataset: Dataset) -> "_Found":
        classifier = Classifier(saving.load_model(path))
        path = pathlib.Path(path)
        try:
            classifier.check(*dataset.test.take(1).arrays(), (0.0, 1.0))
        except InputError as error:
            raise InputError(
                f"`models` must take images and classes of {dataset.name}. "
                f"Received: {path} ({error})"
            ) from error
        if classifier.num_classes != dataset.num_classes:
            raise InputError(
                f"`models` must have the {dataset.num_classes} classes of "
                f"{dataset.name}. Received: {path}, of {classifier.num_classes}"
            )
        notes = _json(path.with_suffix(".json")) or _json(path.with_name(SETTINGS))
        recipe = _recipe(notes)
        found = cls(path, classifier, recipe, notes if recipe else {})
        if recipe is not None and not found.compiled_as(recipe):
            raise InputError(
                "`models` must be compiled with the loss that the JSON file beside "
                f"them names. Received: {path}, which is not compiled with "
                f"{_words(recipe)}"
            )
        return found

    def compiled_as(self, recipe: Recipe) -> bool:
        """Whether the compiled loss has the values of the recipe's."""
        if self.classifier.loss_missing:
            return False
        classes = self.classifier.num_classes
        generator = np.random.default_rng(0)
        z = ops.convert_to_tensor(generator.normal(0, 3, (64, classes)), "float32")
        y = ops.convert_to_tensor(np.arange(64) % classes, "int32")
        ours = networks.loss(recipe).call(y, z)
        theirs = self.classifier.loss(y, z)
        a, b = map(ops.convert_to_numpy, (ours, theirs))
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-5))

    def fits(self, recipe: Recipe) -> bool:
        """Whether it can stand for what a recipe trains."""
        if self.recipe is None:
            return self.compiled_as(recipe)
        names = ("dataset", "loss", "alpha", "eps", "objective")
        return all(getattr(self.recipe, n) == getattr(recipe, n) for n in names)

    @property
    def words(self) -> str:
        """What it is, for an error."""
        if self.recipe is not None:
            return f"{_words(self.recipe)} on {self.recipe.dataset}, says its JSON file"
        missing = self.classifier.loss_missing
        return missing or "compiled with another loss, or one too many of its kind"

    def standing_for(self, recipe: Recipe) -> GivenModel:
        epochs = saving.epochs_of(self.path)
        origin = "" if epochs is None else f"{epochs} epochs"
        provenance = "how it was trained is not said beside it"
        if origin:
            provenance = f"{origin}, {provenance}"
        if self.recipe is not None:
            provenance = origin = self.recipe.described
            for name, words in (("seed", "seed "), ("hardware", "")):
                if name in self.notes:
                    provenance += f", {words}{self.notes[name]}"
        return GivenModel(
            dataset=recipe.dataset,
            loss=recipe.loss,
            alpha=recipe.alpha,
            eps=recipe.eps,
            path=str(self.path),
            digest=hashlib.sha256(self.path.read_bytes()).hexdigest(),
            provenance=provenance,
            origin=origin or "models that were given",
        )


def _json(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a JSON file holds, empty where it is none of an object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _recipe(notes: dict[str, Any]) -> Recipe | None:
    """Returns the recipe that a JSON file holds, alone or beside other things."""
    settings = notes.get("recipe", notes)
    names = [field.name for field in dataclasses.fields(Recipe)]
    try:
        # Older files have no later fields, nor have those in which none is set.
        settings = {**dict.fromkeys(LATER), **settings}
        return Recipe(**{name: settings[name] for name in names})
    except (KeyError, TypeError):
        return None

"""Models from the command line: the options to load one, and the loading."""

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING

from keras_gce.cli.wording import in_options
from keras_gce.errors import InputError

if TYPE_CHECKING:  # They bring Keras.
    import keras

    from keras_gce.classifier import Classifier
    from keras_gce.cli.options import Parser

__all__ = ["add_loading", "classifier_of", "files_of", "load"]

# Of a model that was saved before it was trained: nothing is trained here.
OF_OPTIMIZER = "Skipping variable loading for optimizer"


def add_loading(parser: "Parser") -> None:
    """Adds what a model may need to be loaded."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, or a .py file, with the model's own layers; again for another",
    )
    parser.add_argument(
        "--trust-model",
        action="store_true",
        help="run Python code that is in the model's file, such as a lambda's: only "
        "where you trust its origin",
    )


def files_of(args: argparse.Namespace) -> dict[str, str]:
    """Returns the files of the modules that are to be imported, by what was typed."""
    found = {}
    for module in args.imports:
        path = module if module.endswith(".py") else module.replace(".", os.sep)
        for file in (path, f"{path}.py", os.path.join(path, "__init__.py")):
            if os.path.isfile(file):
                found[f"--import {module}"] = file
    return found


def load(args: argparse.Namespace, path: str, name: str = "MODEL") -> "keras.Model":
    """Loads a model; what Keras or the package warns of is a line on stderr.

    Args:
        args: The parsed arguments.
        path: Path of the model.
        name: What it was given as, for the error. Defaults to `"MODEL"`.
    """
    from keras_gce import saving

    options = {"imports": "--import", "trust": "--trust-model"}
    with warnings.catch_warnings(record=True) as caught, in_options(**options):
        try:
            model = saving.load_model(path, args.imports, args.trust_model)
        except InputError as error:
            raise InputError(str(error).replace("MODEL", name, 1)) from error
    for warning in caught:
        text = " ".join(str(warning.message).split())
        if text.startswith(OF_OPTIMIZER):
            continue
        for argument, option in options.items():
            text = text.replace(f"`{argument}`", f"`{option}`")
        print(f"keras-gce: warning: {text}", file=sys.stderr)
    return model


def classifier_of(args: argparse.Namespace, model: "keras.Model") -> "Classifier":
    """Returns the classifier of a model that the threat model can be had of.

    Args:
        args: The parsed arguments.
        model: The model.

    Raises:
        InputError: If the model can't be attacked, or has not the loss that the threat
            model is about.
    """
    from keras_gce.classifier import Classifier

    with in_options(model="MODEL"):
        classifier = Classifier(model)
    if args.threat_model == "paper" and classifier.loss_missing:
        raise InputError(
            "`--threat-model` paper must have a model that is compiled with one loss, "
            "through which it attacks; crossentropy and adaptive do without. "
            f"Received: {args.model}, where {classifier.loss_missing}"
        )
    return classifier

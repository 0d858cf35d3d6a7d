"""The paper's experiments: how each model is trained, and the tables to re-run."""

import dataclasses
import json

import keras
import numpy as np

from keras_gce import datasets, evaluation, files, losses, models
from keras_gce.errors import InputError

__all__ = ["Recipe", "recipe_for", "reproduce_table3", "train"]

LOSSES = ("crossentropy", "guided_complement_entropy")
MODELS = {
    "lenet5": models.LeNet5,
    "resnet20": models.ResNet20,
    "resnet56": models.ResNet56,
    "resnet50": models.ResNet50,
    "small_cnn": models.SmallCNN,
}

# Table 3 of the paper: accuracy % under attack, by attack and eps, for the model
# trained with cross-entropy and with GCE.
TABLE3 = {
    "mnist": {
        ("FGSM", 0.1): (78.32, 87.66),
        ("FGSM", 0.2): (38.88, 62.74),
        ("FGSM", 0.3): (14.99, 47.21),
        ("BIM", 0.1): (53.14, 61.92),
        ("BIM", 0.2): (2.15, 34.49),
        ("BIM", 0.3): (0.01, 33.45),
        ("PGD", 0.1): (46.85, 51.85),
        ("PGD", 0.2): (1.58, 9.55),
        ("PGD", 0.3): (0.0, 2.22),
        ("MIM", 0.1): (48.28, 61.18),
        ("MIM", 0.2): (2.29, 39.81),
        ("MIM", 0.3): (0.01, 38.78),
    },
    "cifar10": {
        ("FGSM", 0.04): (14.76, 41.22),
        ("FGSM", 0.12): (9.58, 14.82),
        ("FGSM", 0.2): (8.78, 11.81),
        ("BIM", 0.04): (0.25, 19.59),
        ("BIM", 0.12): (0.0, 3.03),
        ("BIM", 0.2): (0.0, 1.97),
        ("PGD", 0.04): (0.0, 5.91),
        ("PGD", 0.12): (0.0, 1.89),
        ("PGD", 0.2): (0.0, 1.66),
        ("MIM", 0.04): (0.0, 15.44),
        ("MIM", 0.12): (0.0, 13.1),
        ("MIM", 0.2): (0.0, 12.69),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model of the paper is trained.

    Args:
        dataset: Name of the dataset.
        model: Name of the network.
        loss: `"crossentropy"` or `"guided_complement_entropy"`.
        alpha: Exponent of GCE's guiding factor; cross-entropy has none.
        optimizer: `"adam"` (1e-3, beta_2 0.99, as in the authors' code) or `"sgd"`
            (0.1, momentum 0.9, a tenth of it from one half and from three quarters of
            the epochs on: 100 and 150 of 200).
        epochs: Number of epochs.
        batch_size: Images in a batch.
        augment: Whether to augment, as the paper does on the CIFARs.
        weight_decay: He et al.'s L2 on the kernels.
    """

    dataset: str
    model: str
    loss: str
    alpha: float | None
    optimizer: str
    epochs: int
    batch_size: int
    augment: bool
    weight_decay: float


def recipe_for(dataset, loss, alpha=1 / 3, model=None, epochs=None, batch_size=None):
    """Returns the paper's recipe for a dataset and a loss, with what is overridden.

    Example:

    >>> recipe_for("mnist", loss="crossentropy").epochs
    20

    Args:
        dataset: Name of the dataset. The CIFARs have ResNet-56, Tiny ImageNet
            ResNet-50, others LeNet-5.
        loss: `"crossentropy"` or `"guided_complement_entropy"`.
        alpha: Exponent of GCE's guiding factor, >= 0. Defaults to 1/3.
        model: Name of another network. Defaults to `None`.
        epochs: Another number of epochs, >= 1. Defaults to `None`.
        batch_size: Another batch size, >= 1. Defaults to `None`.

    Returns:
        A `Recipe`.

    Raises:
        InputError: If an argument is not as described.
    """
    if loss not in LOSSES:
        raise InputError(
            f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={loss!r}"
        )
    if model is not None and model not in MODELS:
        raise InputError(
            f"`model` must be one of {', '.join(MODELS)}. Received: model={model!r}"
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise InputError(f"`{name}` must be >= 1. Received: {name}={value}")
    if loss == "guided_complement_entropy":
        losses.GuidedComplementEntropy(alpha)
    colour = dataset in ("cifar10", "cifar100", "tiny_imagenet")
    network = "resnet50" if dataset == "tiny_imagenet" else "resnet56"
    return Recipe(
        dataset=str(dataset),
        model=model or (network if colour else "lenet5"),
        loss=loss,
        alpha=float(alpha) if loss == "guided_complement_entropy" else None,
        optimizer="sgd" if colour else "adam",
        epochs=epochs or (200 if colour else {"digits": 40}.get(dataset, 20)),
        batch_size=batch_size or (128 if colour else 64),
        augment=colour,
        weight_decay=1e-4 if colour else 0.0,
    )


def train(recipe, dataset, seed=0, progress=True):
    """Trains the model of a recipe.

    Args:
        recipe: A `Recipe`.
        dataset: A `keras_gce.datasets.Dataset`; its test part is not touched.
        seed: Decides the initial weights, the order and the augmentations, >= 0.
        progress: Whether to show Keras's progress bar. Defaults to `True`.

    Returns:
        The trained, compiled `keras.Model`, which returns logits.
    """
    keras.utils.set_random_seed(seed)
    settings = {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    model = MODELS[recipe.model](
        num_classes=dataset.num_classes,
        input_shape=dataset.train.images.shape[1:],
        **settings,
    )
    if recipe.loss == "crossentropy":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = losses.GuidedComplementEntropy(recipe.alpha, from_logits=True)
    steps = -(-len(dataset.train) // recipe.batch_size)
    model.compile(_optimizer(recipe, steps), loss, metrics=["accuracy"])
    model.fit(
        dataset.train.batches(
            recipe.batch_size, shuffle=True, augment=recipe.augment, seed=seed
        ),
        validation_data=dataset.validation.batches(500)
        if len(dataset.validation)
        else None,
        epochs=recipe.epochs,
        shuffle=False,
        verbose=2 if progress else 0,
    )
    return model


def _optimizer(recipe, steps):
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(1e-3, beta_2=0.99)
    total = recipe.epochs * steps
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [total // 2, total * 3 // 4], [0.1, 0.01, 0.001]
    )
    return keras.optimizers.SGD(rate, momentum=0.9)


def reproduce_table3(
    dataset_name,
    output,
    epochs=None,
    seeds=2,
    examples=1000,
    engine="cleverhans",
    model=None,
    data_dir=None,
    progress=True,
):
    """Re-runs the gradient attacks of the paper's Table 3.

    Trains a model with cross-entropy and one with GCE for each seed, and attacks them
    under all three threat models at once. Models, finished batches and reports are
    kept in `output`; the same call continues there.

    Args:
        dataset_name: `"mnist"`, `"cifar10"` or `"digits"`.
        output: Path of the folder for models, reports, `table3.md` and `table3.json`.
        epochs: Number of epochs. Defaults to `None`: the paper's.
        seeds: Number of seeds, >= 1: 0, 1, ... Defaults to 2.
        examples: Number of test images, >= 1; the first ones. Defaults to 1000.
        engine: `"cleverhans"` or `"keras_gce"`. Defaults to `"cleverhans"`.
        model: Name of another network. Defaults to `None`: the paper's.
        data_dir: Folder of the datasets. Defaults to `None`.
        progress: Whether to show progress. Defaults to `True`.

    Returns:
        The table, as Markdown.

    Raises:
        InputError: If an argument is not as described.
    """
    attacks = evaluation.paper_attacks(dataset_name, engine=engine)
    recipes = {
        loss: recipe_for(dataset_name, loss, model=model, epochs=epochs)
        for loss in LOSSES
    }
    for name, value in (("seeds", seeds), ("examples", examples)):
        if value < 1:
            raise InputError(f"`{name}` must be >= 1. Received: {name}={value}")
    output = files.output_folder(output)
    dataset = datasets.load(dataset_name, data_dir=data_dir)
    test = dataset.test.take(min(examples, len(dataset.test)))
    reports = {loss: [] for loss in LOSSES}
    for seed in range(seeds):
        for loss, recipe in recipes.items():
            run = output / f"{loss}-seed{seed}"
            if progress:
                print(f"{dataset_name}, {loss}, seed {seed}", flush=True)
            trained = _trained(recipe, dataset, seed, run, progress)
            report = evaluation.evaluate(
                trained, test, attacks, checkpoint=run / "attacks", progress=progress
            )
            files.write_text(run / "report.json", report.to_json())
            files.write_text(run / "report.md", report.to_markdown())
            reports[loss].append(report)
    table = _table3(dataset_name, recipes, reports)
    files.write_text(output / "table3.md", table)
    summary = {
        "recipes": {name: dataclasses.asdict(r) for name, r in recipes.items()},
        "engine": engine,
        "reports": {
            loss: [report.to_dict() for report in runs]
            for loss, runs in reports.items()
        },
    }
    files.write_text(output / "table3.json", json.dumps(summary, indent=2) + "\n")
    return table


def _trained(recipe, dataset, seed, run, progress):
    """Returns the model of a run, trained now or found finished."""
    files.output_folder(run)
    path, meta = run / "model.keras", run / "recipe.json"
    settings = {**dataclasses.asdict(recipe), "seed": seed}
    if meta.exists() and json.loads(meta.read_text()) != settings:
        raise InputError(
            "`output` must be a new folder, or one of the same settings. "
            f"Received: output={run.parent}, whose {run.name} has other settings"
        )
    if path.exists():
        return keras.models.load_model(path)
    files.write_text(meta, json.dumps(settings, indent=2) + "\n")
    model = train(recipe, dataset, seed=seed, progress=progress)
    files.save_model(model, path)
    return model


def _table3(name, recipes, reports):
    """Returns Table 3 beside the paper's figures, for all three threat models."""
    # The paper has no digits; MNIST's figures are the nearest there are.
    paper = TABLE3.get("mnist" if name == "digits" else name, {})
    runs = list(reports.values())
    first = runs[0][0]
    clean = [_mean([100 * r.clean_accuracy for r in group]) for group in runs]
    recipe = recipes["crossentropy"]
    lines = [
        f"{name}, {recipe.model}, {recipe.epochs} epochs, {len(runs[0])} seed(s), "
        f"{len(first.clean)} test images. Accuracy % under attack, cross-entropy model "
        "/ GCE model (alpha 1/3), mean ± standard deviation over the seeds.",
        "",
        f"Without attack: {clean[0]} / {clean[1]}.",
        "",
        "| attack | eps | paper"
        f"{' (on MNIST)' if name == 'digits' else ''} | through the training loss | "
        "through cross-entropy | adaptive (worst case) |",
        "|---|---|---|---|---|---|",
    ]
    for key in first.worst_over_losses():
        attack, norm, eps = key
        cells = [attack, f"{eps:g}"]
        figures = paper.get((attack, eps))
        cells.append("{:.2f} / {:.2f}".format(*figures) if figures else "–")
        for loss in ("training", "crossentropy"):
            cells.append(
                " / ".join(
                    _mean(
                        [
                            100 * row.robust_accuracy
                            for report in group
                            for row in report.results
                            if (row.name, row.norm, row.eps, row.loss) == (*key, loss)
                        ]
                    )
                    for group in runs
                )
            )
        cells.append(
            " / ".join(
                _mean([100 * r.worst_over_losses()[key] for r in group])
                for group in runs
            )
        )
        lines.append(f"| {' | '.join(cells)} |")
    engines = sorted(
        {f"{row.name} through {row.loss}: {row.engine}" for row in first.results}
    )
    lines += ["", "Engines: " + "; ".join(engines) + "."]
    return "\n".join(lines) + "\n"


def _mean(values):
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"

"""`Recipe`: how one model of the paper is trained."""

import dataclasses

import keras

from keras_gce import losses, models
from keras_gce.errors import InputError
from keras_gce.progress import bar

__all__ = ["LOSSES", "Recipe", "recipe_for", "train"]

LOSSES = ("crossentropy", "guided_complement_entropy")
MODELS = {
    "lenet5": models.LeNet5,
    "resnet20": models.ResNet20,
    "resnet56": models.ResNet56,
    "resnet50": models.ResNet50,
    "small_cnn": models.SmallCNN,
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
        progress: Whether to show a progress bar on stderr. Defaults to `True`.

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
    with bar(f"training, {recipe.loss}", recipe.epochs, progress) as advance:
        model.fit(
            dataset.train.batches(
                recipe.batch_size, shuffle=True, augment=recipe.augment, seed=seed
            ),
            epochs=recipe.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: advance(
                        1, f"training, {recipe.loss}: accuracy {logs['accuracy']:.4f}"
                    )
                )
            ],
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

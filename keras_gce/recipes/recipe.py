"""`Recipe`: how one model of the paper is trained."""

import dataclasses
import json
import warnings

import keras
import numpy as np

from keras_gce import files, losses, models, saving, training
from keras_gce.attacks import PGD
from keras_gce.checks import check_seed
from keras_gce.errors import InputError
from keras_gce.progress import bar
from keras_gce.seeds import seeded

__all__ = [
    "DTYPE_POLICIES",
    "LOSSES",
    "Recipe",
    "claim",
    "network",
    "optimizer",
    "recipe_for",
    "train",
]

LOSSES = ("crossentropy", "cot", "guided_complement_entropy")
DTYPE_POLICIES = ("mixed_float16", "mixed_bfloat16")
# Of the paper's adversarial training: eps, PGD's steps and their size. Where it gives
# no size it is Madry et al.'s rule, 2.5 eps / steps.
ADVERSARIAL = {"mnist": (0.3, 40, 0.01), "digits": (0.3, 40, 0.01)}
ADVERSARIAL_COLOUR = (0.04, 10, None)
# Epochs over which eps grows from 0, see `AdversarialModel`, and the greatest share of
# all epochs. The digits' epochs are short.
WARMUP, WARMUP_SHARE = {"digits": 10}, 0.25
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
        loss: `"crossentropy"`, `"cot"` (complement objective training) or
            `"guided_complement_entropy"`.
        alpha: Exponent of GCE's guiding factor; the other losses have none.
        optimizer: `"adam"` (1e-3, beta_2 0.99, as in the authors' code) or `"sgd"`
            (0.1, momentum 0.9, a tenth of it from one half and from three quarters of
            the epochs on: 100 and 150 of 200).
        epochs: Number of epochs.
        batch_size: Images in a batch.
        augment: Whether to augment, as the paper does on the CIFARs.
        weight_decay: He et al.'s L2 on the kernels.
        eps: Radius of PGD adversarial training; `None` for training on natural images.
        steps: PGD's steps in training.
        step_size: Their size.
        warmup_epochs: Epochs over which eps grows from 0.
        dtype_policy: Keras's name of the policy in training, such as
            `"mixed_bfloat16"`; `None` is float32.
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
    eps: float | None = None
    steps: int | None = None
    step_size: float | None = None
    warmup_epochs: float = 0.0
    dtype_policy: str | None = None

    @property
    def name(self):
        """What tells the recipe from the others of a table: a name for folders."""
        name = self.loss
        if self.alpha not in (None, 1 / 3):
            name += f"-alpha{self.alpha:.3g}"
        if self.eps is not None:
            name += f"-eps{self.eps:g}"
        return name if self.dtype_policy is None else f"{name}-{self.dtype_policy}"


def recipe_for(
    dataset,
    loss,
    alpha=1 / 3,
    model=None,
    epochs=None,
    batch_size=None,
    adversarial=False,
    eps=None,
    steps=None,
    dtype_policy=None,
):
    """Returns the paper's recipe for a dataset and a loss, with what is overridden.

    Example:

    >>> recipe_for("mnist", loss="crossentropy").epochs
    20

    Args:
        dataset: Name of the dataset. The CIFARs have ResNet-56, Tiny ImageNet
            ResNet-50, others LeNet-5.
        loss: `"crossentropy"`, `"cot"` or `"guided_complement_entropy"`.
        alpha: Exponent of GCE's guiding factor, >= 0. Defaults to 1/3.
        model: Name of another network. Defaults to `None`.
        epochs: Another number of epochs, >= 1. Defaults to `None`.
        batch_size: Another batch size, >= 1. Defaults to `None`.
        adversarial: Whether to train on PGD's images, as in the paper's Table 6: eps
            0.3 with 40 steps of 0.01 on MNIST, 0.04 with 10 steps on the others. Over
            the first epoch (the first ten on digits; at most a quarter of all) eps
            grows from 0. Defaults to `False`.
        eps: Another radius for it, > 0. Defaults to `None`.
        steps: Another number of steps, >= 1; their size is then 2.5 eps / steps.
            Defaults to `None`.
        dtype_policy: `"mixed_float16"` or `"mixed_bfloat16"` for training in mixed
            precision. Defaults to `None`: float32.

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
    if dtype_policy not in (None, *DTYPE_POLICIES):
        raise InputError(
            f"`dtype_policy` must be one of {', '.join(DTYPE_POLICIES)}, or None. "
            f"Received: dtype_policy={dtype_policy!r}"
        )
    counts = {"epochs": epochs, "batch_size": batch_size, "steps": steps}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"`{name}` must be >= 1. Received: {name}={value}")
    if eps is not None and not eps > 0:
        raise InputError(f"`eps` must be > 0. Received: eps={eps}")
    if not adversarial and (eps, steps) != (None, None):
        raise InputError(
            "`eps` and `steps` are those of adversarial training. "
            f"Received: eps={eps}, steps={steps}, adversarial=False"
        )
    if adversarial and loss == "cot":
        raise InputError(
            "`loss` must be crossentropy or guided_complement_entropy with "
            "adversarial training. Received: loss='cot'"
        )
    if loss == "guided_complement_entropy":
        losses.GuidedComplementEntropy(alpha)
    colour = dataset in ("cifar10", "cifar100", "tiny_imagenet")
    residual = "resnet50" if dataset == "tiny_imagenet" else "resnet56"
    model = model or (residual if colour else "lenet5")
    epochs = epochs or (200 if colour else {"digits": 40}.get(dataset, 20))
    attack = {}
    if adversarial:
        attack = _attack_settings(dataset, eps, steps)
        warmup = min(WARMUP.get(dataset, 1), WARMUP_SHARE * epochs)
        attack["warmup_epochs"] = float(warmup)
    return Recipe(
        dataset=str(dataset),
        model=model,
        loss=loss,
        alpha=float(alpha) if loss == "guided_complement_entropy" else None,
        optimizer="sgd" if colour else "adam",
        epochs=epochs,
        batch_size=batch_size or (128 if colour else 64),
        augment=colour,
        # The small networks have none.
        weight_decay=1e-4 if colour and model.startswith("resnet") else 0.0,
        dtype_policy=dtype_policy,
        **attack,
    )


def _attack_settings(dataset, eps, steps):
    usual = ADVERSARIAL.get(dataset, ADVERSARIAL_COLOUR)
    eps, steps = eps or usual[0], steps or usual[1]
    step_size = usual[2] if (eps, steps) == usual[:2] else None
    return {
        "eps": float(eps),
        "steps": steps,
        "step_size": min(step_size or 2.5 * eps / steps, eps),
    }


def train(recipe, dataset, seed=0, checkpoint=None, progress=True):
    """Trains the model of a recipe.

    Args:
        recipe: A `Recipe`.
        dataset: A `keras_gce.datasets.Dataset`; its test part is not touched.
        seed: Decides the initial weights, the orders, the augmentations and the
            attacks, an integer in [0, 2**31). The caller's random streams are left as
            they are.
        checkpoint: Folder that holds the state after the last finished epoch; the
            same call continues there after a kill, and ends as one that was never
            killed. Defaults to `None`: nothing is kept.
        progress: Whether to show a progress bar on stderr. Defaults to `True`.

    Returns:
        The trained, compiled `keras.Model`, which returns logits, in float32 whatever
        it was trained in.

    Raises:
        InputError: If `seed` is not as described, or `checkpoint` holds a training of
            other settings, or doesn't say how many of its epochs are finished.
    """
    check_seed(seed)
    with seeded(seed):
        model = network(recipe, dataset)
        trainer = _trainer(recipe, model, dataset, seed)
    if trainer is not model:
        # Here, or `fit` would begin a shuffled pipeline once more, which then goes on
        # with another order; and so in a training that resumes.
        trainer.look(*dataset.train.take(min(1000, len(dataset.train))).arrays())
        trainer.looks = False
    steps = steps_per_epoch(recipe, dataset)
    done = 0
    if checkpoint is not None:
        checkpoint = claim(checkpoint, recipe, seed) / "training.weights.h5"
        if checkpoint.exists():
            done = saving.load_weights(trainer, checkpoint)
            if done is None:
                done = _epochs_of_updates(trainer.optimizer, steps, checkpoint)

    def text(epoch, accuracy=""):
        return f"training, {recipe.name}: epoch {epoch + 1}/{recipe.epochs}{accuracy}"

    with bar(text(done), recipe.epochs * steps, progress, done * steps) as advance:
        for epoch in range(done, recipe.epochs):
            counter = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, epoch=epoch: advance(
                    1, text(epoch, f", accuracy {logs['accuracy']:.4f}")
                )
            )
            # Keras then calls it from a thread of its own, and the device needn't wait.
            counter.async_safe = True
            # Anew for each epoch: the order depends on the epoch's number, not on
            # how many ran before it in this process.
            order = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
            # In tf.data the global seed has its say too, and PyTorch's loader draws.
            with seeded(seed), warnings.catch_warnings():
                batches = dataset.train.batches(
                    recipe.batch_size,
                    shuffle=True,
                    augment=recipe.augment,
                    seed=int(order) >> 1,
                )
                if epoch + 1 < recipe.epochs:  # It may leave chance yet.
                    warnings.filterwarnings("ignore", "Training has stayed at chance")
                trainer.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    shuffle=False,
                    verbose=0,
                    callbacks=[counter] if progress else None,
                )
            if checkpoint is not None:
                saving.save_weights(trainer, checkpoint, epochs=epoch + 1)
    if recipe.dtype_policy is None:
        return model
    with seeded(seed):
        return _in_float32(recipe, dataset, model)


def _epochs_of_updates(optimizer, steps, checkpoint):
    """The finished epochs of a checkpoint of version 0.1, which didn't say them."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise InputError(
            "`checkpoint` must say how many epochs are finished: in mixed_float16 "
            "updates may have been skipped, and don't tell it. "
            f"Received: {checkpoint}, without that number, of keras_gce 0.1"
        )
    return int(optimizer.iterations) // steps


def claim(folder, recipe, seed):
    """Returns the folder, as that of one training from now on.

    With Adam, whose rate does not depend on the number of epochs, it may become one
    of more epochs, which continues.

    Raises:
        InputError: If it is that of another one.
    """
    settings = {**dataclasses.asdict(recipe), "seed": seed}
    meta = files.output_folder(folder) / "recipe.json"
    if meta.exists() and recipe.optimizer == "adam":
        found = json.loads(meta.read_text())
        if found["epochs"] < recipe.epochs and found == {
            **settings,
            "epochs": found["epochs"],
        }:
            files.write_text(meta, json.dumps(settings, indent=2) + "\n")
    return files.claim(folder, meta.name, settings)


def network(recipe, dataset):
    """Returns the recipe's network for a dataset, a new one, not compiled."""
    settings = {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    return MODELS[recipe.model](
        num_classes=dataset.num_classes,
        input_shape=dataset.train.images.shape[1:],
        dtype=recipe.dtype_policy or "float32",
        **settings,
    )


def _in_float32(recipe, dataset, model):
    """Returns a model that was trained in mixed precision as one of float32.

    An attack must not fail because a gradient is too small for float16.
    """
    plain = network(dataclasses.replace(recipe, dtype_policy=None), dataset)
    plain.set_weights(model.get_weights())
    old = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    new = type(old).from_config(old.get_config())
    new.build(plain.trainable_variables)
    for variable, value in zip(new.variables, old.variables, strict=True):
        variable.assign(value)
    plain.compile(new, _loss(recipe), metrics=["accuracy"])
    return plain


def optimizer(recipe, dataset):
    """Returns the recipe's optimizer for a dataset, a new one."""
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(1e-3, beta_2=0.99)
    total = recipe.epochs * steps_per_epoch(recipe, dataset)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [total // 2, total * 3 // 4], [0.1, 0.01, 0.001]
    )
    return keras.optimizers.SGD(rate, momentum=0.9)


def steps_per_epoch(recipe, dataset):
    """The number of updates in an epoch."""
    return -(-len(dataset.train) // recipe.batch_size)


def _loss(recipe):
    if recipe.loss == "guided_complement_entropy":
        return losses.GuidedComplementEntropy(recipe.alpha, from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _trainer(recipe, model, dataset, seed):
    """Returns what trains the model, compiled: the model itself or its wrapper."""
    trainer = model
    if recipe.loss == "cot":
        trainer = training.ComplementObjectiveModel(model)
    elif recipe.eps is not None:
        trainer = training.AdversarialModel(
            model,
            PGD(
                eps=recipe.eps,
                steps=recipe.steps,
                step_size=recipe.step_size,
                seed=seed,
            ),
            warmup_steps=round(recipe.warmup_epochs * steps_per_epoch(recipe, dataset)),
        )
    trainer.compile(optimizer(recipe, dataset), _loss(recipe), metrics=["accuracy"])
    return trainer

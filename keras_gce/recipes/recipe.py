"""`Recipe`: how one model of the paper is trained. Settings, and nothing built."""

import dataclasses
import math
from typing import Any

from keras_gce.errors import InputError
from keras_gce.files import PathLike
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.names import (
    ADVERSARIAL,
    DTYPE_POLICIES,
    LOSSES,
    NETWORKS,
    OBJECTIVES,
)

__all__ = ["LATER", "Recipe", "recipe_for"]

# Of the paper's adversarial training: eps, PGD's steps and their size. Where it gives
# no size it is Madry et al.'s rule, 2.5 eps / steps.
ADVERSARIAL_GREY = (0.3, 40, 0.01)
ADVERSARIAL_COLOUR = (0.04, 10, None)
# Of the fast one, as Wong et al. have it: one step of so many times eps, from a random
# point.
FAST_STEP = 1.25
# Epochs over which eps grows from 0, see `AdversarialModel`, and the greatest share of
# all epochs. The digits' epochs are short.
WARMUP, WARMUP_SHARE = {"digits": 10}, 0.25
# Fields that files of earlier versions don't have.
LATER = {"awp", "ema", "objective"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model of the paper is trained.

    Args:
        dataset: Name of the dataset.
        model: Name of the network.
        loss: `"crossentropy"`, `"cot"` (complement objective training) or
            `"guided_complement_entropy"`.
        alpha: Exponent of GCE's guiding factor; the other losses have none.
        optimizer: `"adam"` (1e-3, beta_2 0.99, as in the authors' code),
            `"adam_cosine"` (from 4e-3 to 0 along a cosine over all epochs) or `"sgd"`
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
        awp: Gamma of adversarial weight perturbation; `None` for none.
        ema: Epochs over whose updates, about, weights are averaged (exponentially); the
            trained model has the averages. `None`: it has the last update's weights.
        objective: `"trades"` or `"mart"`, with the loss in it where its paper has
            cross-entropy; `None` is the loss on PGD's images alone.
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
    awp: float | None = None
    ema: float | None = None
    objective: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Dict of the fields, as files hold them; of later ones those that are set."""
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in LATER or v is not None}

    @property
    def one_step(self) -> bool:
        """Whether its attack has one step, against which alone it may then hold."""
        return self.steps == 1

    @property
    def name(self) -> str:
        """What tells the recipe from the others of a table: a name for folders."""
        name = self.loss
        if self.alpha not in (None, 1 / 3):
            name += f"-alpha{self.alpha:.3g}"
        if self.eps is not None:
            name += f"-eps{self.eps:g}"
        if self.awp is not None:
            name += f"-awp{self.awp:g}"
        if self.ema is not None:
            name += f"-ema{self.ema:g}"
        if self.objective is not None:
            name += f"-{self.objective}"
        return name if self.dtype_policy is None else f"{name}-{self.dtype_policy}"

    @property
    def described(self) -> str:
        """What is trained, how and how long, in words; not with which loss."""
        policy = f" in {self.dtype_policy}" if self.dtype_policy else ""
        training = ""
        if self.eps is not None:
            with_it = f"{self.objective.upper()}, " if self.objective else ""
            training = (
                f"{with_it}PGD adversarial training (eps {self.eps:g}, "
                f"{self.steps} steps of {self.step_size:g}, eps grown over the first "
                f"{self.warmup_epochs:g} epoch(s)), "
            )
        if self.awp is not None:
            training += f"weights perturbed (AWP, gamma {self.awp:g}), "
        return f"{self.model}, {training}{self.epochs} epochs{policy}"

    def brief(self, seed: int) -> str:
        """Returns the same of one run in a few words, for a picture's title."""
        training = "natural training"
        if self.eps is not None:
            training = f"adversarial training (PGD, linf, eps {self.eps:g})"
        return f"{self.model}, {self.epochs} epochs, {training}, seed {seed}"

    @property
    def version(self) -> str:
        """What tells its model from an earlier one of its folder, of fewer epochs."""
        return f"epochs{self.epochs}"

    def folder(self, seed: int) -> str:
        """Returns the name of the folder of one run."""
        return f"{self.name}-seed{seed}"


def recipe_for(
    dataset: PathLike,
    loss: str,
    alpha: float = 1 / 3,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    adversarial: bool | str = False,
    eps: float | None = None,
    steps: int | None = None,
    dtype_policy: str | None = None,
    awp: float | None = None,
    ema: float | None = None,
    objective: str | None = None,
) -> Recipe:
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
            grows from 0. `"pgd"` is the same; `"fast"` has one step of 1.25 eps from a
            random point, as Wong et al. (2020, arXiv 2001.03994). Defaults to `False`.
        eps: Another radius for it, > 0. Defaults to `None`.
        steps: Another number of steps, >= 1; their size is then 2.5 eps / steps.
            Defaults to `None`.
        dtype_policy: `"mixed_float16"` or `"mixed_bfloat16"` for training in mixed
            precision. Defaults to `None`: float32.
        awp: Gamma of adversarial weight perturbation, > 0; see
            `keras_gce.training.AWP`. Defaults to `None`: the weights are not perturbed.
        ema: Epochs, > 0, over whose updates weights are averaged, about: with n updates
            the momentum is 1 - 1 / n. The trained model's weights are the averages.
            Not with COT, which has two optimizers. Defaults to `None`: no averages.
        objective: `"trades"` or `"mart"` for adversarial training by these, with
            their default weights. Defaults to `None`.

    Returns:
        A `Recipe`.

    Raises:
        InputError: If an argument is not as described.
    """
    if loss not in LOSSES:
        raise InputError(
            f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={loss!r}"
        )
    if model is not None and model not in NETWORKS:
        raise InputError(
            f"`model` must be one of {', '.join(NETWORKS)}. Received: model={model!r}"
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
    if adversarial not in (False, True, *ADVERSARIAL):
        raise InputError(
            f"`adversarial` must be one of {', '.join(ADVERSARIAL)}, True or False. "
            f"Received: adversarial={adversarial!r}"
        )
    if adversarial == "fast" and steps is not None:
        raise InputError(
            "`steps` must be None with fast adversarial training, which has one. "
            f"Received: steps={steps}"
        )
    if ema is not None and not (0 < ema < math.inf and loss != "cot"):
        raise InputError(
            "`ema` must be a number > 0, and None with the loss cot. "
            f"Received: ema={ema}, loss={loss!r}"
        )
    if not adversarial and (eps, steps) != (None, None):
        raise InputError(
            "`eps` and `steps` are those of adversarial training. "
            f"Received: eps={eps}, steps={steps}, adversarial=False"
        )
    if awp is not None and not adversarial:
        raise InputError(
            "`awp` must be given with adversarial training alone. "
            f"Received: awp={awp}, adversarial=False"
        )
    if awp is not None and not awp > 0:
        raise InputError(f"`awp` must be > 0. Received: awp={awp}")
    if objective is not None and not (adversarial and objective in OBJECTIVES):
        raise InputError(
            f"`objective` must be one of {', '.join(OBJECTIVES)}, with "
            f"adversarial=True. Received: objective={objective!r}, "
            f"adversarial={adversarial}"
        )
    if adversarial and loss == "cot":
        raise InputError(
            "`loss` must be crossentropy or guided_complement_entropy with "
            "adversarial training. Received: loss='cot'"
        )
    if loss == "guided_complement_entropy":
        GuidedComplementEntropy(alpha)  # It refuses an alpha that can't be.
    dataset = str(dataset)
    colour = dataset in ("cifar10", "cifar100", "tiny_imagenet")
    residual = "resnet50" if dataset == "tiny_imagenet" else "resnet56"
    model = model or (residual if colour else "lenet5")
    epochs = epochs or (200 if colour else {"digits": 40}.get(dataset, 20))
    attack: dict[str, Any] = {}
    if adversarial:
        attack = _attack_settings(dataset, eps, steps, adversarial == "fast")
        warmup = min(WARMUP.get(dataset, 1), WARMUP_SHARE * epochs)
        attack["warmup_epochs"] = float(warmup)
    return Recipe(
        dataset=dataset,
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
        awp=awp,
        ema=ema,
        objective=objective,
        **attack,
    )


def _attack_settings(
    dataset: str, eps: float | None, steps: int | None, fast: bool
) -> dict[str, Any]:
    grey = dataset in ("mnist", "digits")
    usual = ADVERSARIAL_GREY if grey else ADVERSARIAL_COLOUR
    eps = eps or usual[0]
    if fast:
        return {"eps": float(eps), "steps": 1, "step_size": FAST_STEP * eps}
    steps = steps or usual[1]
    step_size = usual[2] if (eps, steps) == usual[:2] else None
    return {
        "eps": float(eps),
        "steps": steps,
        "step_size": min(step_size or 2.5 * eps / steps, eps),
    }

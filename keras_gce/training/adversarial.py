"""Adversarial training: each batch is perturbed inside Keras's own train step."""

from typing import Any

import keras
from keras import ops, tree

from keras_gce import backend
from keras_gce.attacks.base import Attack
from keras_gce.checks import Tensor, check_images, check_integer, check_number
from keras_gce.errors import InputError
from keras_gce.training.objectives import Batch, Mixture, Objective
from keras_gce.training.perturbation import AWP, perturbed, run_perturbed
from keras_gce.training.wrapper import (
    Wrapper,
    classes_of,
    is_distribution,
    one_tensor,
    reduction_of,
)

__all__ = ["AdversarialModel"]


@keras.saving.register_keras_serializable(package="keras_gce")
class AdversarialModel(Wrapper):
    """Trains the model that it wraps on adversarial examples.

    ```
    loss = natural_weight * L(y, f(x)) + (1 - natural_weight) * L(y, f(x_adv))
    ```

    where L is the compiled loss. `train_step` perturbs the batch, in the same compiled
    graph, and hands it to Keras's own step; everything that `fit` knows keeps working.
    The attack ascends its own `loss`, by default cross-entropy, as in the paper's
    section 5.3, and sees the model in inference mode.

    Natural and adversarial examples go through the model in one pass, and metrics in
    training are over all that went through it; `evaluate` and validation are natural
    (see `keras_gce.callbacks.RobustAccuracy` for the other).

    Usage:

    ```python
    adversarial = AdversarialModel(model, PGD(eps=0.3), warmup_steps=2000)
    adversarial.compile("adam", keras_gce.losses.GuidedComplementEntropy())
    adversarial.fit(images, labels, epochs=20)
    model.save("robust.keras")
    ```

    Args:
        model: The `keras.Model`: one input (or a structure with one tensor in it) in
            the attack's bounds, one output of shape `(N, K)`; see
            `keras_gce.classifier.Classifier` for what is taken.
        attack: FGSM, BIM, PGD or MIM. What is random in it is decided by its seed and
            the number of the update; with `seed=None` by a seed drawn now from
            Python's generator, which `keras.utils.set_random_seed` seeds.
        natural_weight: Weight of the natural examples, in [0, 1). Defaults to 0.0.
        warmup_steps: Updates, >= 0, over which the attack's `eps` and `step_size`
            grow linearly from 0. Where eps is large, training may never leave the
            constant prediction without it. Defaults to 0.
        objective: `TRADES(...)`, `MART(...)` or an `Objective` of one's own, in place
            of the loss above. Defaults to `None`.
        attack_training: Whether the attack sees the model in training mode. In
            inference mode, the default and the choice of TRADES and MART, the
            statistics of batch normalisation see only what the update sees; in
            training mode, as in Madry et al.'s code, the attack's steps too, and
            dropout drops in them (under JAX, where the steps are a compiled loop,
            they leave the statistics as they were). Pang et al. ("Bag of Tricks for
            Adversarial Training", ICLR 2021, arXiv 2010.00467) find inference mode to
            keep robustness at a better clean accuracy. Defaults to `False`.
        weight_perturbation: `AWP(gamma)`: the update is with the gradient at weights
            that are perturbed against it. Defaults to `None`.
        name: Name of the wrapper. Defaults to `None`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
        ICLR 2018 (arXiv 1706.06083), Eq. 2.1; Chen et al., ICCV 2019
        (arXiv 1903.09799), section 5.3.
    """

    NAME = "adversarial"

    def __init__(
        self,
        model: keras.Model,
        attack: Attack,
        natural_weight: float = 0.0,
        warmup_steps: int = 0,
        objective: Objective | None = None,
        attack_training: bool = False,
        weight_perturbation: AWP | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model, name=name)
        if not _trains(attack):
            raise InputError(
                "`attack` must be FGSM, BIM, PGD or MIM, untargeted. "
                f"Received: attack={attack!r}"
            )
        check_number("natural_weight", natural_weight, least=0)
        if natural_weight >= 1:
            raise InputError(
                "`natural_weight` must be in [0, 1); at 1 nothing adversarial is left. "
                f"Received: natural_weight={natural_weight}"
            )
        check_integer("warmup_steps", warmup_steps, least=0)
        if objective is not None and not isinstance(objective, Objective):
            raise InputError(
                "`objective` must be TRADES(...), MART(...), an Objective of your own, "
                f"or None. Received: objective={objective!r}"
            )
        if objective is not None and natural_weight:
            raise InputError(
                "`natural_weight` must be 0 with an `objective`, which weighs natural "
                f"examples itself. Received: natural_weight={natural_weight}"
            )
        if weight_perturbation is not None and not isinstance(weight_perturbation, AWP):
            raise InputError(
                "`weight_perturbation` must be AWP(gamma), or None. "
                f"Received: weight_perturbation={weight_perturbation!r}"
            )
        self.attack = attack
        self.natural_weight = natural_weight
        self.warmup_steps = warmup_steps
        self.objective = objective
        self.attack_training = attack_training
        self.weight_perturbation = weight_perturbation
        if objective is None and natural_weight:
            objective = Mixture(natural_weight=natural_weight)
        self._objective = objective
        # A gradient attack: one that `trains`.
        self._inner: Any = attack if objective is None else objective.prepare(attack)
        if not _trains(self._inner):
            raise InputError(
                "`objective` must prepare FGSM, BIM, PGD or MIM, untargeted. "
                f"Received: objective={objective!r} with {self._inner!r}"
            )
        self._seed = attack.draw_seed()

    def train_step(self, *args: Any) -> Any:
        """Perturbs the batch, then trains on it as Keras does."""
        # Before the data there is a state where the backend is stateless.
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = one_tensor("x", x)
        with backend.state_scope(self, *state):
            adversarial = tree.pack_sequence_as(x, [self._perturb(images, y)])
        batch = adversarial, y, sample_weight
        if self._objective is not None:
            batch = _both(x, adversarial), _both(y, y), sample_weight
            if sample_weight is not None:
                batch = *batch[:2], _both(sample_weight, sample_weight)
        if self.weight_perturbation is None:
            return super().train_step(*state, batch)
        with backend.state_scope(self, *state):
            deltas = self.weight_perturbation.deltas(self, lambda: self._value(*batch))
        with perturbed(deltas):
            return super().train_step(*state, batch)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the wrapped model, in a step of AWP at perturbed weights."""
        run = super().call
        return run_perturbed(self, lambda: run(inputs, training))

    def _value(self, x: Any, y: Any, sample_weight: Any) -> Tensor:
        """Computes what is descended, and nothing that layers add to it."""
        y_pred = self.call(x, training=True)
        if self._objective is None:
            return self._compiled(y, y_pred, sample_weight)
        return self._descended(self._objective, y, y_pred, sample_weight)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the objective's loss in training, elsewhere the compiled one."""
        if not training or self._objective is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = self._descended(self._objective, y, y_pred, sample_weight)
        # Of layers and regularizers: once, however often there is a compiled loss.
        for added in self.losses:
            loss += self._aggregate_additional_loss(added)
        return loss

    def _descended(
        self, objective: Objective, y: Any, y_pred: Any, sample_weight: Any
    ) -> Tensor:
        """Computes the objective's loss of a batch and its adversarial twin."""

        def half(structure: Any, number: int) -> Any:
            return tree.map_structure(lambda v: ops.split(v, 2)[number], structure)

        y = half(y, 0)
        if sample_weight is not None:
            sample_weight = half(sample_weight, 0)
        mean = _Reduced(reduction_of(self.loss))
        loss = objective.loss(
            Batch(
                y=y,
                classes=classes_of(y, self.num_classes),
                natural=half(y_pred, 0),
                adversarial=half(y_pred, 1),
                compiled_loss=lambda output: self._compiled(y, output, sample_weight),
                mean=lambda values: mean(values, values, sample_weight),
                log_probabilities=self.classifier.log_probabilities,
            )
        )
        loss = ops.convert_to_tensor(loss)
        if len(loss.shape) != 0:
            raise InputError(
                "`objective` must have a loss that is a scalar: `batch.mean` makes one "
                f"of one value an example. Received: objective={objective!r} "
                f"with a loss of shape {tuple(loss.shape)}"
            )
        return loss

    def _compiled(self, y: Any, output: Any, sample_weight: Any) -> Tensor:
        """Computes the compiled loss, and nothing that layers add to it."""
        if self._compile_loss is None:
            raise InputError(
                "`loss` must be given to `compile` for this objective. "
                f"Received: loss=None, objective={self._objective!r}"
            )
        return self._compile_loss(y, output, sample_weight)

    def look(self, x: Any, y: Any) -> None:
        """Refuses a batch that can't be trained on; `fit` asks it of its first one.

        Args:
            x: Images of shape `(N, ...)` within the attack's bounds.
            y: Their classes: integers, one-hot, or a distribution over the classes.

        Raises:
            InputError: If `x` or `y` holds several tensors, images lie outside the
                bounds or are NaN, or labels are no classes.
        """
        super().look(x, y)
        images = ops.convert_to_numpy(one_tensor("x", x))
        classifier = self.classifier
        images = check_images(images, self.attack.bounds, classifier.input_shape)
        classes = ops.convert_to_numpy(classes_of(y, self.num_classes))
        self.attack.check(classifier, images, classes)

    @property
    def _advice(self) -> str:
        # Not again what was given.
        warm_up = "" if self.warmup_steps else "`warmup_steps`, "
        return (
            "An attack at full strength from the first step on may do that: give "
            f"{warm_up}a smaller `eps`, or a smaller learning rate"
        )

    def _perturb(self, images: Tensor, y: Any) -> Tensor:
        """Returns the adversarial images of a batch, float32, in compiled code."""
        # Not in the dtype of the images: in integers they would leave the ball.
        images = ops.cast(ops.convert_to_tensor(images), "float32")
        labels, classifier = classes_of(y, self.num_classes), self.classifier
        classifier.one_hot_labels = is_distribution(y, self.num_classes)
        if self._objective is not None:
            labels = self._objective.labels(classifier, images, labels)
        # The optimizer's count of updates is in every checkpoint: a training that
        # continues from one draws the same numbers as one that never stopped.
        updates = ops.cast(self.optimizer.iterations, "int32")
        settings = self._inner.settings(0)
        settings["seed"] = ops.stack([self._seed + updates, backend.replica_id()])
        if self.warmup_steps:
            share = ops.cast(updates, "float32") / self.warmup_steps
            for name in ("eps", "step_size"):
                settings[name] = settings[name] * ops.minimum(share, 1.0)
        adversarial = self._inner.perturb(
            classifier, images, labels, training=self.attack_training, **settings
        )
        return ops.stop_gradient(adversarial)

    def get_config(self) -> dict[str, Any]:
        """Returns the wrapped model, the attack and the other settings."""
        return {
            **super().get_config(),
            "attack": keras.saving.serialize_keras_object(self.attack),
            "natural_weight": self.natural_weight,
            "warmup_steps": self.warmup_steps,
            "objective": keras.saving.serialize_keras_object(self.objective),
            "attack_training": self.attack_training,
            "weight_perturbation": keras.saving.serialize_keras_object(
                self.weight_perturbation
            ),
        }


def _trains(attack: Any) -> bool:
    """Whether a train step can have it inside."""
    return isinstance(attack, Attack) and attack.trains and not attack.targeted


def _both(first: Any, second: Any) -> Any:
    """Puts the examples of a structure of tensors before those of another one."""
    return tree.map_structure(
        lambda a, b: ops.concatenate([ops.cast(a, b.dtype), b]), first, second
    )


class _Reduced(keras.losses.Loss):
    """Reduces values as a compiled loss is, sample weights and replicas included."""

    def __init__(self, reduction: str) -> None:
        super().__init__(name="reduced", reduction=reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Gives the values back."""
        return y_pred

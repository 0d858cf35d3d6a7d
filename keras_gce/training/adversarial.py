"""Training that holds: adversarial training, and the COT baseline.

Both wrap a model. The wrapped model is the product: it is what is saved, exported
and attacked, and it is compiled with the same loss and optimizer.
"""

import dataclasses
import types
import warnings

import h5py
import keras
import numpy as np
from keras import ops, tree

from keras_gce import backend
from keras_gce.attacks.base import Attack, serializable
from keras_gce.checks import check_images, check_integer, check_number
from keras_gce.classifier import Classifier
from keras_gce.errors import InputError, faq
from keras_gce.losses import ComplementEntropy

__all__ = ["MART", "TRADES", "AdversarialModel", "ComplementObjectiveModel"]


# Of a weights file: what the wrapped model has no place for.
COMPLEMENT = "keras_gce_complement_optimizer"


class _Wrapper(keras.Model):
    """Trains the model that it wraps, and stands for it elsewhere."""

    # `Classifier` looks for it.
    wraps_model = True

    def __init__(self, model, name=None):
        # Refuses several inputs or outputs, and what is not built.
        num_classes = Classifier(model).num_classes
        super().__init__(
            name=name or f"{self.NAME}_{model.name}", dtype=model.dtype_policy
        )
        self.model = model
        self.num_classes = num_classes
        self.built = True
        # Whether `fit` looks at its first batch.
        self.looks = True

    @property
    def classifier(self):
        """The `Classifier` of the wrapped model, as it is compiled now."""
        return Classifier(self.model)

    def call(self, inputs, training=None):
        if self.model.built and self.classifier.takes_whole_numbers:
            (images,) = tree.flatten(inputs)
            return self.classifier.outputs(images, training)
        return self.model(inputs, training=training)

    def compile(self, optimizer="rmsprop", loss=None, *, metrics=None, **kwargs):
        super().compile(optimizer, loss, metrics=metrics, **kwargs)
        # Saved with the wrapped model, whose training can then be continued, and
        # which an attack through the training loss can be asked about.
        named = all(isinstance(metric, str) for metric in tree.flatten(metrics))
        self.model.compile(self.optimizer, loss, metrics=metrics if named else None)

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves the wrapped model; see `keras.Model.save`."""
        self.model.save(filepath, overwrite=overwrite, **kwargs)

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """Saves the wrapped model's weights, as `save` saves the wrapped model."""
        self.model.save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath, **kwargs):
        """Loads weights of the wrapped model; see `keras.Model.load_weights`."""
        self.model.load_weights(filepath, **kwargs)

    def save_state(self, filepath):
        """Saves all that a training continues from: optimizers, and the weights.

        Args:
            filepath: Path of the file, which ends in `.weights.h5`.
        """
        super().save_weights(filepath)

    def load_state(self, filepath):
        """Loads what `save_state` saved."""
        super().load_weights(filepath)

    def export(self, filepath, **kwargs):
        """Exports the wrapped model; see `keras.Model.export`."""
        return self.model.export(filepath, **kwargs)

    def get_config(self):
        model = keras.saving.serialize_keras_object(self.model)
        return {"model": model, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value)
                for name, value in config.items()
            }
        )

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains; see `keras.Model.fit`.

        It looks at the first batch before it trains, and warns where accuracy has
        stayed at chance.

        Raises:
            InputError: If the first batch is not what `look` takes.
        """
        if self.looks:
            x = self._look_at_first(x, y)
        history = super().fit(x, y, *args, **kwargs)
        self._warn_at_chance(history)
        return history

    def look(self, x, y):
        """Refuses a batch that can't be trained on; `fit` asks it of its first one.

        Args:
            x: Images of shape `(N, ...)`.
            y: Their classes: integers, one-hot, or a distribution over the classes.

        Raises:
            InputError: If `x` or `y` holds several tensors, or labels are no classes.
        """
        _one("x", x)
        if y is None:
            raise InputError("`y` must be given: a batch has no labels. Received: None")
        labels = keras.ops.convert_to_numpy(_one("y", y))
        if _is_distribution(y, self.num_classes) and not self.classifier.one_output:
            sums = labels.astype("float64").sum(-1)
            if not (labels.min() >= 0 and np.allclose(sums, 1, atol=1e-2)):
                raise InputError(
                    "`y` must be distributions over the classes, each of sum 1. "
                    f"Received: sums from {sums.min():g} to {sums.max():g}"
                )
            return
        wrong = (labels < 0) | (labels >= self.num_classes) | (labels != labels // 1)
        if labels.size != len(labels) or wrong.any():
            seen = (
                labels[wrong][0] if wrong.any() else f"labels of shape {labels.shape}"
            )
            raise InputError(
                f"`y` must hold integers in [0, {self.num_classes}), the classes of "
                f"the model, or a distribution over them. Received: {seen}"
            )

    def _look_at_first(self, x, y):
        """Looks at the first batch of what `fit` is given, and gives it back whole."""
        if y is not None:  # arrays
            some = slice(None, 1024)
            self.look(*(tree.map_structure(lambda a: a[some], one) for one in (x, y)))
            return x
        if isinstance(x, types.GeneratorType):
            first = next(x, None)
            if first is not None:
                self._look_at(first)
                x = _again(first, x)
        elif isinstance(x, keras.utils.PyDataset):
            self._look_at(x[0])
        elif x is not None and not hasattr(x, "shape"):
            # A tf.data.Dataset or a torch DataLoader: iterables that begin anew.
            first = next(iter(x), None)
            if first is not None:
                self._look_at(first)
        return x

    def _look_at(self, batch):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        self.look(x, y)

    def _warn_at_chance(self, history):
        chance = 1 / self.num_classes
        # The share of the greatest class may be somewhat above 1 / K.
        most = chance + min(0.05 * (1 - chance), 0.5 * chance)
        for name, values in history.history.items():
            if name.endswith("accuracy") and not name.startswith("val_") and values:
                if values[-1] < most:
                    warnings.warn(
                        f"Training has stayed at chance: {name} {values[-1]:.1%} of "
                        f"{self.num_classes} classes. {self._advice}"
                        + faq("training-stays-at-chance"),
                        stacklevel=3,
                    )
                break

    @property
    def _advice(self):
        return "Give a smaller learning rate"


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class TRADES:
    """The objective of TRADES, for `AdversarialModel`.

    ```
    loss = L(y, f(x)) + beta * KL(f(x) || f(x_adv))
    ```

    where L is the compiled loss and f the probabilities. The attack ascends the
    divergence from f(x), whatever its own `loss`; it has to start at a random point,
    since the divergence has no gradient at x.

    Example:

    >>> TRADES()
    TRADES(beta=6.0)

    Args:
        beta: Weight of the divergence, >= 0. Defaults to 6.0, as in the paper's
            CIFAR10 experiments.

    Reference:
        Zhang et al., "Theoretically Principled Trade-off between Robustness and
        Accuracy", ICML 2019 (arXiv 1901.08573), Eq. 5. The authors start from normal
        noise of 0.001 rather than from the whole ball, and let batch normalisation
        see natural and adversarial images apart.
    """

    beta: float = 6.0

    def __post_init__(self):
        check_number("beta", self.beta, least=0)

    def prepare(self, attack):
        """The attack as the objective has it."""
        if not attack.random_start or attack.restarts > 1:
            raise InputError(
                "`attack` must be PGD with random_start=True and restarts=1 for "
                f"TRADES. Received: attack={attack!r}"
            )
        return attack.with_loss(_soft_crossentropy)

    def labels(self, model, x, classes):
        """What the attack gets as labels."""
        return ops.softmax(model.logits(x))

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        divergence = _divergence(log_p(natural), log_p(adversarial))
        return primary(y, natural) + self.beta * mean(divergence)


@serializable
@dataclasses.dataclass(frozen=True, kw_only=True)
class MART:
    """The objective of MART, for `AdversarialModel`.

    ```
    loss = L(y, f(x_adv)) - log(1 - max_{k != y} f_k(x_adv))
           + beta * KL(f(x) || f(x_adv)) * (1 - f_y(x))
    ```

    where L is the compiled loss, cross-entropy in the paper, and f the probabilities.

    Example:

    >>> MART()
    MART(beta=6.0)

    Args:
        beta: Weight of the divergence, >= 0; the paper's lambda. Defaults to 6.0, as
            in the authors' code.

    Reference:
        Wang et al., "Improving Adversarial Robustness Requires Revisiting
        Misclassified Examples", ICLR 2020, Eq. 11. The authors start the attack from
        normal noise of 0.001.
    """

    beta: float = 6.0

    def __post_init__(self):
        check_number("beta", self.beta, least=0)

    def prepare(self, attack):
        return attack

    def labels(self, model, x, classes):
        return classes

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        log_natural, log_adversarial = log_p(natural), log_p(adversarial)
        is_true = ops.one_hot(classes, log_natural.shape[-1], dtype="bool")
        wrong = ops.max(ops.where(is_true, -np.inf, log_adversarial), axis=-1)
        # As in the authors' code: finite where the wrong class is certain.
        margin = -ops.log(1.0001 - ops.exp(wrong))
        true = ops.exp(ops.sum(ops.where(is_true, log_natural, 0.0), axis=-1))
        divergence = _divergence(log_natural, log_adversarial) * (1 - true)
        return primary(y, adversarial) + mean(margin + self.beta * divergence)


@dataclasses.dataclass(frozen=True)
class _Mixture:
    """The compiled loss of natural and adversarial examples."""

    natural_weight: float

    prepare, labels = MART.prepare, MART.labels

    def loss(self, primary, mean, y, classes, natural, adversarial, log_p):
        weight = self.natural_weight
        return weight * primary(y, natural) + (1 - weight) * primary(y, adversarial)


@keras.saving.register_keras_serializable(package="keras_gce")
class AdversarialModel(_Wrapper):
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
        objective: `TRADES(...)` or `MART(...)` in place of the loss above. Defaults to
            `None`.
        attack_training: Whether the attack sees the model in training mode. In
            inference mode, the default and the choice of TRADES and MART, the
            statistics of batch normalisation see only what the update sees; in
            training mode, as in Madry et al.'s code, the attack's steps too, and
            dropout drops in them (under JAX, where the steps are a compiled loop,
            they leave the statistics as they were). Pang et al. ("Bag of Tricks for
            Adversarial Training", ICLR 2021, arXiv 2010.00467) find inference mode to
            keep robustness at a better clean accuracy. Defaults to `False`.
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
        model,
        attack,
        natural_weight=0.0,
        warmup_steps=0,
        objective=None,
        attack_training=False,
        name=None,
    ):
        super().__init__(model, name=name)
        if not isinstance(attack, Attack) or not attack.trains or attack.targeted:
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
        if objective is not None and not isinstance(objective, (TRADES, MART)):
            raise InputError(
                "`objective` must be TRADES(...), MART(...) or None. "
                f"Received: objective={objective!r}"
            )
        if objective is not None and natural_weight:
            raise InputError(
                "`natural_weight` must be 0 with an `objective`, which weighs natural "
                f"examples itself. Received: natural_weight={natural_weight}"
            )
        self.attack = attack
        self.natural_weight = natural_weight
        self.warmup_steps = warmup_steps
        self.objective = objective
        self.attack_training = attack_training
        if objective is None and natural_weight:
            objective = _Mixture(natural_weight)
        self._objective = objective
        self._inner = objective.prepare(attack) if objective else attack
        self._seed = attack.draw_seed()

    def train_step(self, *args):
        # Before the data there is a state where the backend is stateless.
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = _one("x", x)
        with backend.state_scope(self, *state):
            adversarial = tree.pack_sequence_as(x, [self._perturb(images, y)])
        if self._objective is None:
            return super().train_step(*state, (adversarial, y, sample_weight))

        def both(first, second):
            return tree.map_structure(
                lambda a, b: ops.concatenate([ops.cast(a, b.dtype), b]), first, second
            )

        doubled = (both(x, adversarial), both(y, y))
        if sample_weight is not None:
            doubled += (both(sample_weight, sample_weight),)
        return super().train_step(*state, doubled)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if not training or self._objective is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)

        def half(structure, number):
            return tree.map_structure(lambda v: ops.split(v, 2)[number], structure)

        y, natural, adversarial = half(y, 0), half(y_pred, 0), half(y_pred, 1)
        if sample_weight is not None:
            sample_weight = half(sample_weight, 0)

        def primary(y, y_pred):
            return super(AdversarialModel, self).compute_loss(
                x, y, y_pred, sample_weight, training
            )

        def mean(values):
            return _Reduced(_reduction(self.loss))(values, values, sample_weight)

        classes, log_p = (
            _classes(y, self.num_classes),
            self.classifier.log_probabilities,
        )
        return self._objective.loss(
            primary, mean, y, classes, natural, adversarial, log_p
        )

    def look(self, x, y):
        """Refuses a batch that can't be trained on; `fit` asks it of its first one.

        Args:
            x: Images of shape `(N, ...)` within the attack's bounds.
            y: Their classes: integers, one-hot, or a distribution over the classes.

        Raises:
            InputError: If `x` or `y` holds several tensors, images lie outside the
                bounds or are NaN, or labels are no classes.
        """
        images = keras.ops.convert_to_numpy(_one("x", x))
        classifier = self.classifier
        images = check_images(images, self.attack.bounds, classifier.input_shape)
        super().look(x, y)
        self.attack.check(classifier, images, None)

    @property
    def _advice(self):
        # Not again what was given.
        warm_up = "" if self.warmup_steps else "`warmup_steps`, "
        return (
            "An attack at full strength from the first step on may do that: give "
            f"{warm_up}a smaller `eps`, or a smaller learning rate"
        )

    def _perturb(self, images, y):
        """Returns the adversarial images of a batch, float32, in compiled code."""
        # Not in the dtype of the images: in integers they would leave the ball.
        images = ops.cast(ops.convert_to_tensor(images), "float32")
        labels, classifier = _classes(y, self.num_classes), self.classifier
        classifier.one_hot_labels = _is_distribution(y, self.num_classes)
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

    def get_config(self):
        return {
            **super().get_config(),
            "attack": keras.saving.serialize_keras_object(self.attack),
            "natural_weight": self.natural_weight,
            "warmup_steps": self.warmup_steps,
            "objective": keras.saving.serialize_keras_object(self.objective),
            "attack_training": self.attack_training,
        }


@keras.saving.register_keras_serializable(package="keras_gce")
class ComplementObjectiveModel(_Wrapper):
    """Complement objective training (COT): two updates for each batch.

    The first one is on the compiled loss, cross-entropy in the paper; the second one,
    after a new forward pass, on the complement entropy / (K - 1), by an optimizer of
    its own. Regularisation counts in both, as weight decay does in the authors' code.
    Metrics are those of the first pass. The authors train with SGD; Adam, which steps
    as far whatever a gradient's scale, undoes the division by K - 1.

    The learning rates are coupled, as in the authors' code: where the first
    optimizer's changes (by a callback such as `ReduceLROnPlateau`), the other's
    follows in the ratio that they had in `compile`. A learning-rate schedule of either
    optimizer is kept as it is; a twin has the same.

    Usage:

    ```python
    cot = ComplementObjectiveModel(model)
    cot.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    cot.fit(images, labels, epochs=20)
    ```

    Args:
        model: The `keras.Model`, with one output of shape `(N, K)`, K >= 3; see
            `keras_gce.classifier.Classifier`.
        name: Name of the wrapper. Defaults to `None`.

    Raises:
        InputError: If an argument is not as described.

    Reference:
        Chen et al., "Complement Objective Training", ICLR 2019 (arXiv 1903.01182),
        Eq. 2 and 3 and Algorithm 1.
    """

    NAME = "complement_objective"

    def __init__(self, model, name=None):
        super().__init__(model, name=name)
        if self.num_classes < 3:
            raise InputError(
                "`model` must have at least 3 classes, or there is no complement. "
                f"Received: {self.num_classes}"
            )
        self.complement_optimizer = None

    def compile(
        self, optimizer="rmsprop", loss=None, complement_optimizer=None, **kwargs
    ):
        """Sets the losses and optimizers; see `keras.Model.compile`.

        Args:
            optimizer: For the loss.
            loss: The loss.
            complement_optimizer: For the complement entropy. Defaults to `None`: a
                twin of `optimizer`, but without its average of the weights.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        super().compile(optimizer, loss, **kwargs)
        if complement_optimizer is None:
            # One average of the weights is enough: the other would overwrite it.
            config = {**self.optimizer.get_config(), "use_ema": False}
            complement_optimizer = type(self.optimizer).from_config(config)
        complement_optimizer = keras.optimizers.get(complement_optimizer)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(
            complement_optimizer, scaled
        ):
            complement_optimizer = scaled(complement_optimizer)
        # Here, so that a checkpoint finds its variables.
        complement_optimizer.build(self.model.trainable_variables)
        self.complement_optimizer = complement_optimizer
        self._rate_ratio = None
        if _has_own_rate(self.optimizer) and _has_own_rate(complement_optimizer):
            self._rate_ratio = float(complement_optimizer.learning_rate) / float(
                self.optimizer.learning_rate
            )

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """Saves the wrapped model's weights, and apart the second optimizer's state.

        The file loads into the wrapped model alone, too, which has no second optimizer;
        `keras.callbacks.BackupAndRestore` continues from it.
        """
        super().save_weights(filepath, overwrite=overwrite, **kwargs)
        if self.complement_optimizer is not None:
            with h5py.File(filepath, "a") as file:
                group = file.create_group(COMPLEMENT)
                for i, variable in enumerate(self.complement_optimizer.variables):
                    group[str(i)] = keras.ops.convert_to_numpy(variable.value)

    def load_weights(self, filepath, **kwargs):
        """Loads what `save_weights` saved, or weights of the wrapped model alone."""
        super().load_weights(filepath, **kwargs)
        if self.complement_optimizer is not None and h5py.is_hdf5(filepath):
            with h5py.File(filepath, "r") as file:
                group = file.get(COMPLEMENT, {})
                for i, variable in enumerate(self.complement_optimizer.variables):
                    if str(i) in group:
                        variable.assign(group[str(i)][()])

    @property
    def non_trainable_variables(self):
        # Stateless backends carry from step to step what is in these lists.
        variables = super().non_trainable_variables
        if self.complement_optimizer is None:
            return variables
        return variables + self.complement_optimizer.variables

    def train_step(self, *args):
        result = super().train_step(*args)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(args[-1])
        complement = ComplementEntropy(
            from_logits=self.classifier.from_logits, reduction=_reduction(self.loss)
        )
        classes = _classes(y, self.num_classes)

        def value():
            if self._rate_ratio is not None:
                self.complement_optimizer.learning_rate = (
                    self._rate_ratio * self.optimizer.learning_rate
                )
            (y_pred,) = tree.flatten(self(x, training=True))
            value = complement(classes, y_pred, sample_weight) / (self.num_classes - 1)
            for loss in self.losses:
                value += self._aggregate_additional_loss(loss)
            return value

        return backend.second_update(self, self.complement_optimizer, value, result)


class _Reduced(keras.losses.Loss):
    """Reduces values as a compiled loss is, sample weights and replicas included."""

    def __init__(self, reduction):
        super().__init__(name="reduced", reduction=reduction)

    def call(self, y_true, y_pred):
        return y_pred


def _reduction(loss):
    return getattr(loss, "reduction", None) or "sum_over_batch_size"


def _has_own_rate(optimizer):
    # Of a schedule the optimizer has a value, not a variable.
    return isinstance(optimizer.learning_rate, keras.Variable)


def _one(name, structure):
    """Returns the one tensor of a structure."""
    tensors = tree.flatten(structure)
    if len(tensors) != 1:
        raise InputError(
            f"`{name}` must hold one tensor. Received: {name} with {len(tensors)}"
        )
    return tensors[0]


def _again(first, rest):
    yield first
    yield from rest


def _is_distribution(y, num_classes):
    shape = ops.convert_to_tensor(_one("y", y)).shape
    return len(shape) == 2 and shape[-1] == num_classes


def _classes(y, num_classes):
    """Integer labels of shape (N,) from any form that Keras's losses take."""
    y = ops.convert_to_tensor(_one("y", y))
    if len(y.shape) == 2:
        y = ops.argmax(y, -1) if y.shape[-1] == num_classes else y[:, 0]
    return ops.cast(y, "int32")


def _divergence(log_p, log_q):
    """KL(p || q) of each example."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _soft_crossentropy(y, logits):
    """KL(y || softmax(logits)) up to a constant: the same gradient."""
    return -ops.sum(y * ops.log_softmax(logits), axis=-1)

"""Table 6's CIFAR-10 columns, and COT's ResNet-56 of Table 5, in minutes of one GPU.

    KERAS_BACKEND=jax python table6_gpu.py cifar10.npz OUTPUT --train-until 420

The models are the package's: `recipes.recipe_for("cifar10", ..., adversarial=True)`
with PGD-10 inside `training.AdversarialModel`, at eps 0.04 and 0.08, with cross-entropy
and with GCE outside, or `training.ComplementObjectiveModel`. What differs from
`keras-gce reproduce table6` is how long, how large the batches are, and who runs the
loop: Keras's own `train_step` runs in one XLA program a epoch, with the images and
their augmentation on the device, so that the GPU waits for nobody. All training images
are used, none held out; what does not fill a batch is left out of an epoch.

The batch size is the one, of those given, from which on a larger one brings little; the
learning rate is the recipe's times batch / 128, grown from 0 over the first epoch. The
number of epochs is what fits until `--train-until`, looked at again after each epoch of
the first 40%, and the rate falls to a tenth at one half and at three quarters of it, as
in the recipe. A model that is still at chance after three epochs begins anew, with eps
grown over a quarter of the epochs.

OUTPUT gets, for each model, NAME.keras (float32, without the optimizer's state),
NAME.json (recipe, history, and what it ran on) and its reports; `OUTPUT/state` what a
training continues from when the same line is given again.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

START = time.time()
os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402  the backend is chosen first
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_gce  # noqa: E402
from keras_gce import attacks, datasets, evaluation, losses, recipes, training  # noqa: E402, E501
from keras_gce.classifier import Classifier  # noqa: E402
from keras_gce.evaluation.gradients import gradient_checks  # noqa: E402
from keras_gce.evaluation.hardware import hardware  # noqa: E402

# Name: loss, eps of the adversarial training.
MODELS = {
    "crossentropy_pgd04": ("crossentropy", 0.04),
    "gce_pgd04": ("guided_complement_entropy", 0.04),
    "crossentropy_pgd08": ("crossentropy", 0.08),
    "gce_pgd08": ("guided_complement_entropy", 0.08),
    "cot": ("cot", None),
}
PADDING = 4  # pixels on each side, as in the package's own pipelines
RATE, RATE_BATCH = 0.1, 128  # the recipe's
MEASURED = 3.0  # seconds for each batch size
WORTH = 1.25  # times the throughput, for which a larger batch is taken
BATCH = 1024  # images attacked at once
# Share of the epochs within which their number may change: the rate falls at 1/2.
OPEN = 0.4
# Accuracy, and epochs after which a model that has less is taken to be stuck.
STUCK, STUCK_AFTER = 0.12, 3
SAVED_EVERY = 60  # seconds


def log(*parts):
    print(f"[{time.time() - START:6.1f}]", *parts, flush=True)


def augmented(images, key):
    """Pads, crops and flips a batch, as `Split.batches(augment=True)` does."""
    n, height, width, _ = images.shape
    *corners, flips = jax.random.split(key, 3)
    top, left = (jax.random.randint(k, (n, 1), 0, 2 * PADDING + 1) for k in corners)
    flip = jax.random.bernoulli(flips, shape=(n, 1))
    across = jnp.arange(width)
    rows = top + jnp.arange(height)
    columns = left + jnp.where(flip, across[::-1], across)
    around = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    padded = jnp.pad(images, around)
    return padded[jnp.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]


def learning_rate(progress, epochs, peak):
    """The rate after `progress` epochs of `epochs`."""
    falls = jnp.array([1.0, 0.1, 0.01], "float32")
    fallen = jnp.int32(progress >= epochs / 2) + jnp.int32(progress >= epochs * 3 / 4)
    return peak * jnp.minimum(progress, 1.0) * falls[fallen]


class Run:
    """A model in training: what trains it, the state of that, and its history."""

    def __init__(self, name, recipe, dataset, seed):
        self.name, self.recipe, self.seed = name, recipe, seed
        self.steps = len(dataset.train) // recipe.batch_size
        keras.utils.set_random_seed(seed)
        model = recipes.network(recipe, dataset)
        if recipe.loss == "cot":
            self.trainer = training.ComplementObjectiveModel(model)
        else:
            pgd = attacks.PGD(
                eps=recipe.eps,
                steps=recipe.steps,
                step_size=recipe.step_size,
                seed=seed,
            )
            self.trainer = training.AdversarialModel(
                model, pgd, warmup_steps=round(recipe.warmup_epochs * self.steps)
            )
        # A rate that is a variable, not a schedule: it can be decided within the
        # program, which is compiled before the number of epochs is known.
        optimizer = keras.optimizers.SGD(RATE, momentum=0.9)
        self.trainer.compile(optimizer, loss_of(recipe), metrics=["accuracy"])
        optimizer.build(self.trainer.trainable_variables)
        # Metrics have no variables before they see a batch.
        self.trainer.compute_metrics(
            None, np.zeros(1, "int32"), np.zeros((1, dataset.num_classes), "float32")
        )
        self.trainer.reset_metrics()
        self.start = [[np.asarray(v.value) for v in part] for part in self.variables]
        self.history, self.seconds = [], 0.0
        self.reset()

    @property
    def variables(self):
        """The parts of the state that Keras's `train_step` takes under JAX."""
        trainer = self.trainer
        return [
            trainer.trainable_variables,
            trainer.non_trainable_variables,
            trainer.optimizer.variables,
            trainer.metrics_variables,
        ]

    def reset(self):
        """Takes it back to before the first step."""
        self.state = jax.tree.map(jnp.asarray, self.start)

    def lower(self, images, labels):
        """Traces the program of an epoch, for `compile` to compile."""
        trainer, size, steps = self.trainer, self.recipe.batch_size, self.steps
        seed = self.seed
        optimizer = trainer.optimizer
        paths = [variable.path for variable in optimizer.variables]
        rate = paths.index(optimizer.learning_rate.path)

        # Bounds that are arguments, so that a few steps can be timed by the same
        # program; a scan's length is part of it.
        def program(state, images, labels, epoch, first, last, epochs, peak):
            key = jax.random.fold_in(jax.random.key(seed), epoch)
            order = jax.random.permutation(jax.random.fold_in(key, 0), len(labels))
            zeros = jax.tree.map(jnp.zeros_like, state[3])

            def step(i, state):
                index = jax.lax.dynamic_slice(order, (i * size,), (size,))
                x = augmented(images[index], jax.random.fold_in(key, i + 1))
                x = x.astype("float32") / 255
                state[2][rate] = learning_rate(epoch + i / steps, epochs, peak)
                _, state = trainer.train_step(state, (x, labels[index]))
                return [list(part) for part in state]

            return jax.lax.fori_loop(first, last, step, [*state[:3], zeros])

        numbers = [np.int32(0)] * 3 + [np.float32(1)] * 2
        return jax.jit(program, donate_argnums=0).lower(
            self.state, images, labels, *numbers
        )

    def compile(self, lowered):
        self.program = lowered.compile()
        return self

    @property
    def peak(self):
        return RATE * self.recipe.batch_size / RATE_BATCH

    def advance(self, images, labels, steps=None):
        """Trains for an epoch, or for so many of its steps; returns the seconds."""
        begin = time.time()
        self.state = self.program(
            self.state,
            images,
            labels,
            np.int32(len(self.history)),
            np.int32(0),
            np.int32(steps or self.steps),
            np.float32(self.recipe.epochs),
            np.float32(self.peak),
        )
        jax.block_until_ready(self.state)
        seconds = time.time() - begin
        if steps is None:
            for variable, value in zip(self.variables[3], self.state[3], strict=True):
                variable.assign(value)
            logs = self.trainer.get_metrics_result()
            self.history.append({key: float(value) for key, value in logs.items()})
            self.seconds += seconds
        return seconds

    @property
    def images_per_second(self):
        images = len(self.history) * self.steps * self.recipe.batch_size
        return images / max(self.seconds, 1e-9)

    @property
    def finished(self):
        return len(self.history) >= self.recipe.epochs

    @property
    def stuck(self):
        """Whether it has not left chance, and may begin anew with a longer warm-up."""
        recipe, epochs = self.recipe, len(self.history)
        if epochs != STUCK_AFTER or not 0 < recipe.warmup_epochs < recipe.epochs / 4:
            return False
        return self.history[-1]["accuracy"] < STUCK

    def save(self, folder):
        temporary = folder / f".{self.name}.pkl"
        temporary.write_bytes(pickle.dumps(self._saved()))
        temporary.replace(folder / f"{self.name}.pkl")

    def _saved(self):
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "state": jax.tree.map(np.asarray, self.state),
            "history": self.history,
            "seconds": self.seconds,
        }

    def restore(self, saved):
        """Goes on where a saved one was."""
        self.state = jax.tree.map(jnp.asarray, saved["state"])
        self.history, self.seconds = saved["history"], saved["seconds"]

    def weights(self):
        """The weights now, in the order of `keras.Model.get_weights`."""
        for variables, values in zip(self.variables[:2], self.state, strict=False):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return self.trainer.model.get_weights()

    def record(self, args, table):
        """What the model is, for the file beside it."""
        warmup = f"{self.recipe.warmup_epochs:g} epoch(s)"
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "epochs": len(self.history),
            "learning_rate": f"{self.peak:g}, grown from 0 over the first epoch, a "
            "tenth of it from 1/2 and from 3/4 of the epochs on; momentum 0.9",
            "eps_warm_up": None if self.recipe.eps is None else warmup,
            "images": f"{self.steps * self.recipe.batch_size} of "
            f"{args.take} in each epoch, in a new order; CIFAR-10, JPEG 75",
            "seed": self.seed,
            "history": self.history,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images_per_second),
            "batch_sizes_images_per_second": table,
            "hardware": hardware(),
            "versions": {
                "keras_gce": keras_gce.__version__,
                "keras": keras.__version__,
                "jax": jax.__version__,
            },
            "command": " ".join(sys.argv),
        }


def loss_of(recipe):
    if recipe.loss == "guided_complement_entropy":
        return losses.GuidedComplementEntropy(recipe.alpha, from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def recipe_of(name, args, batch_size):
    loss, eps = MODELS[name]
    return recipes.recipe_for(
        "cifar10",
        loss,
        model=args.model,
        epochs=args.epochs or None,
        batch_size=batch_size,
        adversarial=eps is not None,
        eps=eps,
        dtype_policy=None if args.dtype_policy == "float32" else args.dtype_policy,
    )


class Evaluator:
    """Attacks models of one loss, through one Keras model that takes their weights.

    What attacks compile belongs to a Keras model and takes its weights as arguments:
    here once for all models, and ahead of the first, while the GPU trains.
    """

    def __init__(self, recipe, dataset):
        self.recipe, self.test = recipe, dataset.test
        self.model = recipes.network(
            dataclasses.replace(recipe, dtype_policy=None), dataset
        )
        optimizer = keras.optimizers.SGD(RATE, momentum=0.9)
        self.model.compile(optimizer, loss_of(recipe), metrics=["accuracy"])

    def plans(self, args, examples):
        """What is run, by the name of its report: attacks, and on how many images."""
        if self.recipe.eps is not None:
            paper = evaluation.paper_attacks("cifar10", "keras_gce", "table6")
            return {"table6": (paper, examples)}
        paper = evaluation.paper_attacks("cifar10", "keras_gce", "table5")
        slow = {"JSMA": "jsma07", "CarliniWagnerL2": "cw"}
        plans = {"table5": ([a for a in paper if a.name not in slow], examples)}
        for attack in paper:
            if attack.name in slow:
                plans[slow[attack.name]] = ([attack], args.slow_examples)
        return plans

    def warm_up(self, args):
        """Compiles what `run` needs, on a model that is right about everything."""
        with exact():
            classifier = Classifier(self.model)
            for paper, examples in self.plans(args, min(args.examples)).values():
                if paper[0].name == "CarliniWagnerL2":  # Which takes its time anyway.
                    continue
                x, _ = self.test.take(min(examples, BATCH)).arrays()
                y = classifier.predict(x, BATCH).argmax(-1)
                evaluation.evaluate(
                    self.model, (x, y), paper, batch_size=BATCH, progress=False
                )
            # Of the last batch of these, whose size is not known before.
            names = ["crossentropy", "margin"]
            if self.recipe.loss == "guided_complement_entropy":
                names.append("training")
            for n in (200, 100):
                gradient_checks(classifier, x[:n], y[:n], names)

    def save(self, weights, path):
        """Writes a model file, in float32 and without an optimizer's state."""
        self.model.set_weights(weights)
        self.model.save(path)

    def run(self, name, weights, args, examples, folder):
        """Attacks a model; returns its test error."""
        with exact():
            self.model.set_weights(weights)
            images, labels = self.test.arrays()
            right = Classifier(self.model).right(images, labels, BATCH)
            error = 1 - float(right.mean())
            log(f"{name}: test error {100 * error:.2f}% of {len(right)}")
            for kind, (paper, count) in self.plans(args, examples).items():
                path = folder / f"{name}.{kind}.json"
                if not is_due(path, count, args.until):
                    continue
                begin = time.time()
                report = evaluation.evaluate(
                    self.model,
                    self.test.take(count),
                    paper,
                    batch_size=even_batch(int(right[:count].sum())),
                    progress=False,
                )
                path.write_text(report.to_json())
                log(f"{name}: {kind}, {count} images, {time.time() - begin:.1f} s")
                for row in report.results:
                    log(
                        f"  {row.name} {row.budget} {row.loss}: clean "
                        f"{row.clean_accuracy:.4f} robust {row.robust_accuracy:.4f} "
                        f"success {row.success_rate or 0:.4f} {row.seconds:.1f} s"
                    )
                log("  worst", dict(report.worst_over_losses()))
                log("  flags", [flag.name for flag in report.flags])
            return error


def exact():
    """Float32 as it is: by default XLA takes TF32 for it on such a GPU."""
    return jax.default_matmul_precision("highest")


def even_batch(count):
    """A batch size that leaves no small rest: attacks compile for powers of two."""
    parts = -(-max(count, 1) // BATCH)
    return -(-max(count, 1) // parts)


def is_due(path, examples, until):
    """Whether a report is not there, of so many examples, and would be done in time."""
    if not path.exists():
        return time.time() - START < until
    rows = json.loads(path.read_text())["results"]
    found, seconds = rows[0]["n_examples"], sum(row["seconds"] for row in rows)
    expected = 1.2 * seconds * examples / found
    return found < examples and time.time() - START + expected < until


def measured(args, dataset, images, labels, pool):
    """Measures the batch sizes; returns the Run of the best, and images a second."""
    name = args.models[0]
    runs = [
        Run(name, recipe_of(name, args, size), dataset, args.seed)
        for size in sorted(args.batch_sizes)
    ]
    # Traced one after the other, compiled side by side.
    waiting = [pool.submit(run.compile, run.lower(images, labels)) for run in runs]
    log("traced", args.batch_sizes)
    for future in waiting:
        future.result()
    log("compiled", args.batch_sizes)
    table = {}
    for run in runs:
        run.advance(images, labels, 2)  # what is only the first time
        once = run.advance(images, labels, 2) / 2
        steps = min(run.steps, max(2, int(MEASURED / once)))
        seconds = run.advance(images, labels, steps)
        # As text, which is what JSON has for keys.
        size = run.recipe.batch_size
        table[str(size)] = round(steps * size / seconds)
        run.reset()
    best = runs[0]
    for run in runs[1:]:
        size, smaller = (str(one.recipe.batch_size) for one in (run, best))
        if table[size] > WORTH * table[smaller]:
            best = run
    log("images/s by batch size", table, "taken", best.recipe.batch_size)
    return best, table


class Training:
    """The runs of all models, side by side on one GPU."""

    def __init__(self, args, dataset, folder, pool):
        self.args, self.dataset, self.folder, self.pool = args, dataset, folder, pool
        train = dataset.train
        self.images, self.labels = map(jnp.asarray, (train.images, train.labels))
        self.runs, self._preparing, self._ready = {}, [], threading.Condition()
        meta = folder / "meta.json"
        if meta.exists():
            found = json.loads(meta.read_text())
            self.batch_size, self.table = found["batch_size"], found["table"]
        else:
            first, self.table = measured(args, dataset, self.images, self.labels, pool)
            self.batch_size = first.recipe.batch_size
            self.runs[first.name] = first
            meta.write_text(
                json.dumps({"batch_size": self.batch_size, "table": self.table})
            )
        for name in args.models:
            if name not in self.runs:
                self._begin(name)

    def _begin(self, name, **changes):
        self._preparing.append(self.pool.submit(self._prepare, name, changes))

    def _prepare(self, name, changes):
        """Makes and compiles a run in a thread of its own, while others train."""
        recipe = recipe_of(name, self.args, self.batch_size)
        recipe = dataclasses.replace(recipe, **changes)
        path = self.folder / f"{name}.pkl"
        saved = (
            None if changes or not path.exists() else pickle.loads(path.read_bytes())
        )
        if saved:
            recipe = recipes.Recipe(**saved["recipe"])
        run = Run(name, recipe, self.dataset, self.args.seed)
        if saved:
            run.restore(saved)
        if not (saved and run.finished):
            run.compile(run.lower(self.images, self.labels))
        log("ready", name, changes)
        with self._ready:
            self.runs[name] = run
            self._ready.notify()

    @property
    def prepared(self):
        """Whether all runs are compiled; raises what went wrong in a thread."""
        done = [future for future in self._preparing if future.done()]
        for future in done:
            future.result()
        return len(done) == len(self._preparing)

    def _plan(self):
        """Sets the number of epochs: what fits, as long as it is open."""
        if self.args.epochs:
            return
        runs, count = list(self.runs.values()), len(self.args.models)
        furthest = max(runs, key=lambda run: len(run.history))
        if len(furthest.history) > OPEN * furthest.recipe.epochs:
            # Runs that were compiled since have what the others have.
            epochs = furthest.recipe.epochs
        else:
            done = sum(len(run.history) for run in runs)
            seconds = sum(run.seconds for run in runs)
            if done:
                one = seconds / done
            else:
                rate = self.table[str(self.batch_size)]
                one = runs[0].steps * self.batch_size / rate
            left = self.args.train_until - (time.time() - START)
            epochs = min(200, max(4, int((done + left / one) / count)))
        for run in runs:
            run.recipe = dataclasses.replace(run.recipe, epochs=epochs)

    def run(self, when_prepared):
        """Trains all, until they are finished or time has ended."""
        last_save, told = time.time(), False
        # What is begun is finished, if it takes little longer than was thought.
        while time.time() - START < 1.1 * self.args.train_until:
            with self._ready:
                prepared, some = self.prepared, bool(self.runs)
                if some:
                    self._plan()
                waiting = [run for run in self.runs.values() if not run.finished]
                if not waiting:
                    if prepared:
                        break
                    self._ready.wait(1.0)
                    continue
            if prepared and not told:
                told = True  # Not before: what trains is needed sooner.
                when_prepared()
            # The one that is behind, so that all have as much when time ends.
            run = min(waiting, key=lambda run: len(run.history))
            seconds = run.advance(self.images, self.labels)
            log(
                f"{run.name} {len(run.history)}/{run.recipe.epochs} "
                + " ".join(f"{k} {v:.4f}" for k, v in run.history[-1].items())
                + f" {seconds:.2f} s "
                f"{run.steps * self.batch_size / seconds:,.0f} images/s"
            )
            if run.stuck:
                log(run.name, "is at chance: anew")
                del self.runs[run.name]
                self._begin(run.name, warmup_epochs=run.recipe.epochs / 4)
            if time.time() - last_save > SAVED_EVERY:
                self.save()
                last_save = time.time()

    def save(self):
        for run in list(self.runs.values()):
            run.save(self.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", help=".npz with Keras's keys")
    add("output", type=pathlib.Path)
    add("--models", nargs="+", default=list(MODELS)[:4], choices=list(MODELS))
    add("--train-until", type=float, default=420, help="seconds after the start")
    add("--until", type=float, default=1e9, help="no report is begun later")
    add("--epochs", type=int, default=0, help="0: as many as fit, at most 200")
    add("--batch-sizes", type=int, nargs="+", default=[128, 256, 512])
    add("--examples", type=int, nargs="+", default=[1000], help="of first reports, ...")
    add("--slow-examples", type=int, default=200, help="JSMA, C&W")
    add("--seed", type=int, default=0)
    add("--model", help="another network")
    add("--take", type=int, default=50000, help="training images")
    add("--dtype-policy", default="mixed_bfloat16")
    args = parser.parse_args()
    folder = args.output / "state"
    folder.mkdir(parents=True, exist_ok=True)
    dataset = datasets.load(args.data, validation=0)
    dataset = dataclasses.replace(dataset, train=dataset.train.take(args.take))
    log(hardware(), "jax", jax.__version__, "keras", keras.__version__)
    with ThreadPoolExecutor() as pool:
        work(args, dataset, folder, pool)


def work(args, dataset, folder, pool):
    kinds = list(dict.fromkeys(MODELS[name][0] for name in args.models))
    evaluators, warming = {}, []

    def warm(kind):
        name = next(n for n in args.models if MODELS[n][0] == kind)
        evaluators[kind] = Evaluator(recipe_of(name, args, 128), dataset)
        evaluators[kind].warm_up(args)
        log("attacks compiled for", kind)

    def warm_up():
        warming.extend(pool.submit(warm, kind) for kind in kinds)

    training_ = Training(args, dataset, folder, pool)
    training_.run(warm_up)
    training_.save()
    runs, table = training_.runs, training_.table
    log("trained", {name: len(run.history) for name, run in runs.items()})
    if not warming:
        warm_up()
    for future in warming:
        future.result()
    weights = {name: run.weights() for name, run in runs.items()}
    for name, run in runs.items():
        path = args.output / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(run.record(args, table)))
        evaluators[MODELS[name][0]].save(weights[name], args.output / f"{name}.keras")

    def finish(kind):
        for examples in args.examples:
            for name in runs:
                if MODELS[name][0] == kind:
                    error = evaluators[kind].run(
                        name, weights[name], args, examples, args.output
                    )
                    path = args.output / f"{name}.json"
                    record = json.loads(path.read_text()) | {"test_error": error}
                    path.write_text(json.dumps(record))

    # Side by side: one compiles or copies while the other computes.
    for future in [pool.submit(finish, kind) for kind in kinds]:
        future.result()
    log("done")


if __name__ == "__main__":
    main()

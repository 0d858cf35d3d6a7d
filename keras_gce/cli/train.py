"""`keras-gce train`."""

import argparse

from keras_gce import names
from keras_gce.cli import data, options, views
from keras_gce.errors import InputError, check_installed

__all__ = ["add", "run"]

PATIENCE = 5
# The share of train that is held out where a training is watched.
HELD_OUT = 0.1


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(commands, "train", run, "train a model and save it")
    data.add_dataset(parser)
    parser.add_argument(
        "--loss",
        default="guided_complement_entropy",
        choices=names.LOSSES,
        help="training loss",
    )
    parser.add_argument(
        "--alpha", type=options.number, help="exponent of GCE; without it 1/3"
    )
    options.add_recipe(parser)
    parser.add_argument(
        "--adversarial",
        nargs="?",
        const="pgd",
        choices=names.ADVERSARIAL,
        help="train on adversarial images: of PGD, or, much faster, of one step from a "
        "random point; without a name PGD's",
    )
    parser.add_argument(
        "--eps", type=options.number, help="its radius; without it the paper's"
    )
    parser.add_argument(
        "--steps", type=options.count, help="its steps; without it the paper's"
    )
    parser.add_argument(
        "--awp",
        type=options.positive,
        metavar="GAMMA",
        help="perturb the weights, too, by this share of each",
    )
    parser.add_argument(
        "--ema",
        type=options.number,
        nargs="?",
        const=1.0,
        metavar="EPOCHS",
        help="write averages of the weights, over about the updates of so many epochs; "
        "without a number 1",
    )
    parser.add_argument(
        "--early-stopping",
        type=options.count,
        nargs="?",
        const=PATIENCE,
        metavar="PATIENCE",
        help="hold out a tenth, stop after so many epochs without a better accuracy "
        "there, under attack if --adversarial, and write the best epoch's weights; "
        f"without a number {PATIENCE}",
    )
    parser.add_argument(
        "--tensorboard",
        metavar="DIR",
        help="hold out a tenth, and write the curves of accuracy there for TensorBoard",
    )
    options.add_dtype_policy(parser)
    parser.add_argument("--checkpoint", help="folder where a killed training resumes")
    parser.add_argument(
        "--output", required=True, metavar="MODEL.keras", help="the model to write"
    )
    options.add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    if not args.output.endswith(".keras"):
        raise InputError(
            f"`--output` must end in .keras. Received: --output {args.output}"
        )
    if args.alpha is not None and args.loss != "guided_complement_entropy":
        raise InputError(
            "`--alpha` must be given with --loss guided_complement_entropy alone. "
            f"Received: --loss {args.loss}"
        )
    stops = args.early_stopping is not None or args.adversarial == "fast"
    if stops and args.checkpoint:
        raise InputError(
            "`--checkpoint` must not be given with --early-stopping or --adversarial "
            "fast: it does not hold the best epoch's weights. "
            f"Received: --checkpoint {args.checkpoint}"
        )
    if args.tensorboard:
        check_installed("`--tensorboard`", "tensorflow", "tensorflow")
    kinds = {"--output": "Keras model"}
    path = views.outputs(args, kinds, views.inputs(args))["--output"]
    import keras

    from keras_gce import files, recipes, saving

    recipe = recipes.recipe_for(
        args.dataset,
        loss=args.loss,
        alpha=1 / 3 if args.alpha is None else args.alpha,
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        adversarial=args.adversarial or False,
        eps=args.eps,
        steps=args.steps,
        dtype_policy=args.dtype_policy,
        awp=args.awp,
        ema=args.ema,
    )
    watched = stops or args.tensorboard is not None
    # All of train, where nothing is chosen by a validation part.
    dataset = data.load_to_train(args, validation=HELD_OUT if watched else 0)
    callbacks = []
    if watched:
        folder = args.tensorboard and files.output_folder(args.tensorboard)
        callbacks = recipes.watchers(recipe, dataset, args.early_stopping, folder)
        callbacks.append(history := keras.callbacks.History())
    model = recipes.train(
        recipe,
        dataset,
        seed=args.seed,
        checkpoint=args.checkpoint,
        callbacks=callbacks,
    )
    files.write_or_rescue(path, lambda path: saving.save_model(model, path))
    if watched:
        print(_curves(history.epoch, history.history))
    _, accuracy = model.evaluate(dataset.test.batches(500), verbose=0)
    print(f"clean test accuracy {accuracy:.2%}; model written to {path}")


def _curves(epochs: list[int], history: dict[str, list[float]]) -> str:
    """Returns the accuracies of each epoch as lines."""
    columns = {k: v for k, v in history.items() if k.endswith("accuracy")}
    lines = ["  ".join(["epoch", *columns])]
    for i, epoch in enumerate(epochs):
        cells = [f"{epoch + 1:5}"]
        cells += [f"{values[i]:>{len(k)}.2%}" for k, values in columns.items()]
        lines.append("  ".join(cells))
    return "\n".join(lines)

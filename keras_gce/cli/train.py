"""`keras-gce train`."""

import argparse

from keras_gce import names
from keras_gce.cli import data, options, views
from keras_gce.errors import InputError

__all__ = ["add", "run"]


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
        "--alpha", type=options.number, default=1 / 3, help="exponent of GCE"
    )
    options.add_recipe(parser)
    parser.add_argument(
        "--adversarial", action="store_true", help="train on the images of PGD"
    )
    parser.add_argument(
        "--eps", type=options.number, help="its radius; without it the paper's"
    )
    parser.add_argument(
        "--steps", type=options.count, help="its steps; without it the paper's"
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
    inputs = {"--dataset": args.dataset, "--checkpoint": args.checkpoint}
    path = views.outputs(args, {"--output": "Keras model"}, inputs)["--output"]
    from keras_gce import files, recipes, saving

    recipe = recipes.recipe_for(
        args.dataset,
        loss=args.loss,
        alpha=args.alpha,
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        adversarial=args.adversarial,
        eps=args.eps,
        steps=args.steps,
        dtype_policy=args.dtype_policy,
    )
    # All of train: nothing is chosen by a validation part here.
    dataset = data.load_to_train(args, validation=0)
    model = recipes.train(recipe, dataset, seed=args.seed, checkpoint=args.checkpoint)
    files.write_or_rescue(path, lambda path: saving.save_model(model, path))
    _, accuracy = model.evaluate(dataset.test.batches(500), verbose=0)
    print(f"clean test accuracy {accuracy:.2%}; model written to {path}")

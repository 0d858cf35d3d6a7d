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
        "--alpha", type=options.number, help="exponent of GCE; without it 1/3"
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
    parser.add_argument(
        "--awp",
        type=options.positive,
        metavar="GAMMA",
        help="perturb the weights, too, by this share of each",
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
    kinds = {"--output": "Keras model"}
    path = views.outputs(args, kinds, views.inputs(args))["--output"]
    from keras_gce import files, recipes, saving

    recipe = recipes.recipe_for(
        args.dataset,
        loss=args.loss,
        alpha=1 / 3 if args.alpha is None else args.alpha,
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        adversarial=args.adversarial,
        eps=args.eps,
        steps=args.steps,
        dtype_policy=args.dtype_policy,
        awp=args.awp,
    )
    # All of train: nothing is chosen by a validation part here.
    dataset = data.load_to_train(args, validation=0)
    model = recipes.train(recipe, dataset, seed=args.seed, checkpoint=args.checkpoint)
    files.write_or_rescue(path, lambda path: saving.save_model(model, path))
    _, accuracy = model.evaluate(dataset.test.batches(500), verbose=0)
    print(f"clean test accuracy {accuracy:.2%}; model written to {path}")

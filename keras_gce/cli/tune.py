"""`keras-gce tune`."""

import argparse

from keras_gce import names, progress
from keras_gce.cli import data, options
from keras_gce.errors import InputError

__all__ = ["add", "run"]


def add(commands: options.Commands) -> None:
    """Adds the command."""
    parser = options.add_command(
        commands,
        "tune",
        run,
        "search alpha with KerasTuner; it resumes, and joins a distributed search "
        "where KerasTuner's environment variables say so",
    )
    data.add_dataset(parser)
    parser.add_argument(
        "--alphas",
        type=options.numbers,
        default="1/2,1/3,1/4,1/5",
        help="exponents to try; the ends of a range for the other tuners",
    )
    parser.add_argument(
        "--tuner", choices=names.TUNERS, default="grid", help="KerasTuner's"
    )
    parser.add_argument(
        "--max-trials",
        type=options.count,
        help="most trials; without it a whole grid, or 10",
    )
    parser.add_argument(
        "--eps",
        type=options.number,
        required=True,
        help="radius of PGD, through cross-entropy and the margin loss",
    )
    parser.add_argument("--steps", type=options.count, default=10, help="steps of PGD")
    parser.add_argument(
        "--clean-floor",
        type=options.number,
        help="least clean accuracy of the best trial, in [0, 1]",
    )
    options.add_recipe(parser)
    parser.add_argument(
        "--examples",
        type=options.count,
        default=1000,
        help="images of the validation part, the first ones, that are attacked",
    )
    parser.add_argument(
        "--output", help="folder; without it keras_gce_output/tune-DATASET"
    )


def run(args: argparse.Namespace) -> None:
    """Runs the command."""
    from keras_gce import files

    output = args.output or f"keras_gce_output/tune-{args.dataset}"
    files.output_folder(output)
    from keras_gce import attacks, recipes

    try:
        from keras_gce import tuning
    except ModuleNotFoundError as error:
        raise InputError(str(error)) from error

    recipe = recipes.recipe_for(
        args.dataset,
        "guided_complement_entropy",
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
    )
    dataset = data.load_to_train(args, seed=args.seed)
    validation = dataset.validation
    attack = attacks.PGD(
        eps=args.eps, steps=args.steps, step_size=2.5 * args.eps / args.steps
    )
    # KerasTuner says how far it is at the end of a trial, and on stdout.
    with progress.bar("searching alpha"), progress.aside():
        search = tuning.search_alpha(
            lambda hp: recipes.network(recipe, dataset),
            dataset.train.batches(
                recipe.batch_size, shuffle=True, augment=recipe.augment, seed=args.seed
            ),
            validation.take(min(args.examples, len(validation))),
            [attack, attack.with_loss("margin")],
            alphas=args.alphas,
            tuner=args.tuner,
            epochs=recipe.epochs,
            directory=output,
            batch_size=recipe.batch_size,
            optimizer=lambda hp: recipes.optimizer(recipe, dataset),
            max_trials=args.max_trials,
            clean_floor=args.clean_floor,
            seed=args.seed,
        )
    if search is None:
        print("this worker is done; the chief prints the result")
        return
    print(search.to_markdown())
    print(f"Trials, best_model.keras and this table are in {output}")

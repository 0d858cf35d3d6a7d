"""The command line: every command is a call into the package.

Nothing here imports Keras before the arguments are known to be right, since that
brings TensorFlow with it and takes seconds.
"""

import argparse
import dataclasses
import fractions
import os
import shlex
import sys

from keras_gce.errors import InputError

__all__ = ["main"]

# Images attacked at each radius of the page's curves.
CURVE_EXAMPLES = 200
# Of the paper; those of `recipes.FIGURES`, which would bring Keras.
FIGURES = ("figure1", "figure2", "figure3", "figure4")


def main(argv=None):
    """Runs `keras-gce`.

    Args:
        argv: List of arguments. Defaults to `None`: those of the process.

    Returns:
        The exit code: 0 done, 2 the input was wrong, 130 interrupted. What is wrong
        with the program itself is raised, and exits with 1.
    """
    args = _parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    # On CPUs where TensorFlow leaves oneDNN off it makes these models 2 to 4 times
    # faster; both have to be set before TensorFlow is imported.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        args.command(args)
    except ValueError as error:
        # An InputError, or what Keras and a loss raise where a model doesn't suit them.
        text = " ".join(str(error).split())
        print(f"keras-gce: error: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keras-gce: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-gce",
        description="Train with guided complement entropy, and measure honestly "
        "whether it helped.",
    )
    commands = parser.add_subparsers(title="commands", required=True)
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_reproduce(commands)
    _add_tune(commands)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the defaults, where there are any."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def _add(commands, name, command, text):
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        formatter_class=_Help,
    )
    parser.set_defaults(command=command)
    return parser


def _add_dataset(parser):
    parser.add_argument(
        "--dataset",
        required=True,
        help="digits, mnist, cifar10, cifar100, tiny_imagenet, or the path of an .npz",
    )
    parser.add_argument(
        "--data-dir",
        help="folder of TFDS or NAME.npz; without it TFDS_DATA_DIR or TFDS's own",
    )


def _add_recipe(parser):
    parser.add_argument(
        "--model",
        choices=("lenet5", "resnet20", "resnet56", "resnet50", "small_cnn"),
        help="network; without it the paper's for the dataset",
    )
    parser.add_argument("--epochs", type=_count, help="without it the paper's")
    parser.add_argument("--batch-size", type=_count, help="without it the paper's")
    parser.add_argument("--seed", type=_seed, default=0, help="decides all randomness")


def _add_dtype_policy(parser):
    parser.add_argument(
        "--dtype-policy",
        choices=("mixed_float16", "mixed_bfloat16"),
        help="of the training; what is saved and attacked is float32 all the same",
    )


def _add_demo(commands):
    parser = _add(
        commands,
        "demo",
        _demo,
        "train with cross-entropy and with GCE on digits, and attack both",
    )
    parser.add_argument(
        "--output",
        default="keras_gce_output/demo",
        help="folder for models and reports; the demo resumes there",
    )


def _demo(args):
    from keras_gce import recipes

    table = recipes.reproduce(
        "table3",
        "digits",
        args.output,
        seeds=1,
        engine="keras_gce",
        attacks=["fgsm", "bim", "pgd", "mim"],
    )
    print(table)
    print(
        "An attack through GCE itself is a weak one: quote the adaptive column.\n"
        f"Models, reports and this table are in {args.output}"
    )


def _add_train(commands):
    parser = _add(commands, "train", _train, "train a model and save it")
    _add_dataset(parser)
    parser.add_argument(
        "--loss",
        default="guided_complement_entropy",
        choices=("guided_complement_entropy", "crossentropy", "cot"),
        help="training loss",
    )
    parser.add_argument("--alpha", type=_number, default=1 / 3, help="exponent of GCE")
    _add_recipe(parser)
    parser.add_argument(
        "--adversarial", action="store_true", help="train on the images of PGD"
    )
    parser.add_argument(
        "--eps", type=_number, help="its radius; without it the paper's"
    )
    parser.add_argument(
        "--steps", type=_count, help="its steps; without it the paper's"
    )
    _add_dtype_policy(parser)
    parser.add_argument("--checkpoint", help="folder where a killed training resumes")
    parser.add_argument("--output", required=True, help="MODEL.keras to write")


def _train(args):
    from keras_gce import files

    if not args.output.endswith(".keras"):
        raise InputError(
            f"`--output` must end in .keras. Received: --output {args.output}"
        )
    path = files.output_file(args.output)
    from keras_gce import datasets, recipes, saving

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
    dataset = datasets.load(args.dataset, data_dir=args.data_dir, seed=args.seed)
    model = recipes.train(recipe, dataset, seed=args.seed, checkpoint=args.checkpoint)
    saving.save_model(model, path)
    _, accuracy = model.evaluate(dataset.test.batches(500), verbose=0)
    print(f"clean test accuracy {accuracy:.2%}; model written to {path}")


def _add_evaluate(commands):
    parser = _add(commands, "evaluate", _evaluate, "attack a saved model and report")
    parser.add_argument("model", metavar="MODEL.keras", help="the model")
    _add_dataset(parser)
    parser.add_argument(
        "--eps",
        type=_number,
        required=True,
        help="radius of the ball, in the unit of the pixels",
    )
    parser.add_argument(
        "--bounds",
        type=_any_number,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(0.0, 1.0),
        help="least and greatest value of a pixel, as the model takes them: 0 255",
    )
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf", help="norm")
    parser.add_argument(
        "--attacks",
        default="fgsm,pgd,noise,autoattack",
        help="attacks, separated by commas: these, bim, mim, apgd, apgdt, fab, square, "
        "jsma, carliniwagnerl2",
    )
    parser.add_argument(
        "--source",
        metavar="OTHER.keras",
        help="a second model, whose adversarial examples are tried too",
    )
    parser.add_argument(
        "--threat-model",
        default="adaptive",
        help="what the attacks ascend: adaptive, crossentropy or paper",
    )
    parser.add_argument(
        "--engine",
        choices=("keras_gce", "cleverhans"),
        default="keras_gce",
        help="whose",
    )
    parser.add_argument(
        "--examples", type=_count, default=1000, help="test images, the first ones"
    )
    parser.add_argument("--batch-size", type=_count, default=500, help="images at once")
    parser.add_argument("--checkpoint", help="folder where a killed evaluation resumes")
    parser.add_argument("--output", help="REPORT.json to write")
    parser.add_argument("--html", help="REPORT.html to write: a page with charts")


def _evaluate(args):
    from keras_gce import files

    path = args.output and files.output_file(args.output)
    page = args.html and files.output_file(args.html)
    files.check_apart(
        {"--output": path, "--html": page},
        {"MODEL": args.model, "--dataset": args.dataset, "--source": args.source},
    )
    from keras_gce import datasets, evaluation, saving
    from keras_gce.attacks import PGD, Transfer
    from keras_gce.classifier import Classifier

    attacks = [_attack(name, args) for name in args.attacks.split(",")]
    model = saving.load_model(args.model)
    dataset = datasets.load(args.dataset, data_dir=args.data_dir)
    num_classes = Classifier(model).num_classes
    if num_classes != dataset.num_classes:
        raise InputError(
            f"MODEL must have {dataset.num_classes} classes, as {args.dataset} has. "
            f"Received: {args.model} with {num_classes}"
        )
    if args.source:
        attack = PGD(
            eps=args.eps, norm=args.norm, bounds=args.bounds, step_size=args.eps / 16
        )
        attacks.append(Transfer(source=saving.load_model(args.source), attack=attack))
    test = dataset.test.take(min(args.examples, len(dataset.test)))
    report = evaluation.evaluate(
        model,
        test,
        attacks,
        threat_model=args.threat_model,
        batch_size=args.batch_size,
        checkpoint=args.checkpoint,
        diagnostics=True,
        bounds=args.bounds,
    )
    command = shlex.join(["keras-gce", *args.argv])
    report = dataclasses.replace(
        report,
        class_names=dataset.class_names,
        setup=report.setup | {"command": command},
    )
    print(report.to_markdown())
    if page and args.eps:
        attack = PGD(
            eps=args.eps,
            norm=args.norm,
            bounds=args.bounds,
            step_size=args.eps / 16,
            seed=0,
        )
        report = dataclasses.replace(
            report,
            curves=evaluation.accuracy_curves(
                model,
                test.take(min(CURVE_EXAMPLES, len(test))),
                [args.eps * share for share in (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2)],
                attack=attack,
                batch_size=args.batch_size,
            ),
        )
    for file, text in ((path, report.to_json), (page, report.to_html)):
        if file:
            files.write_text(file, text())
            print(f"report written to {file}")


def _attack(name, args):
    from keras_gce import attacks
    from keras_gce.evaluation.cleverhans import CleverHansAttack

    own_objective = {"jsma": attacks.JSMA, "carliniwagnerl2": attacks.CarliniWagnerL2}
    in_ball = {
        "noise": attacks.RandomNoise,
        "apgd": attacks.APGD,
        "apgdt": attacks.APGDT,
        "fab": attacks.FAB,
        "square": attacks.Square,
        "autoattack": attacks.AutoAttack,
    }
    ours = {attack.__name__.lower(): attack for attack in _gradient_attacks(attacks)}
    if name in own_objective:
        return own_objective[name]()
    if name in in_ball:
        return in_ball[name](eps=args.eps, norm=args.norm)
    if name not in ours:
        names = ", ".join([*ours, *in_ball, *own_objective])
        raise InputError(f"`--attacks` must be among {names}. Received: {name}")
    if args.engine == "cleverhans":
        return CleverHansAttack(name, eps=args.eps, norm=args.norm)
    return ours[name](eps=args.eps, norm=args.norm)


def _gradient_attacks(attacks):
    return attacks.FGSM, attacks.BIM, attacks.PGD, attacks.MIM


def _add_reproduce(commands):
    parser = _add(
        commands,
        "reproduce",
        _reproduce,
        "re-run a table or a figure of the paper; it resumes",
    )
    parser.add_argument(
        "what",
        choices=("table2", "table3", "table4", "table5", "table6", *FIGURES),
        help="the table, or the figure: features of models (1, 4), losses (2, 3)",
    )
    parser.add_argument(
        "--dataset",
        choices=("mnist", "cifar10", "cifar100", "tiny_imagenet", "digits"),
        help="data, for all but figures 2 and 3; cifar100 and tiny_imagenet have "
        "tables 2 and 4 and the figures alone",
    )
    parser.add_argument(
        "--data-dir",
        help="folder of TFDS or NAME.npz; without it TFDS_DATA_DIR or TFDS's own",
    )
    parser.add_argument("--epochs", type=_count, help="without it the paper's")
    parser.add_argument(
        "--attacks",
        help="those of the table's attacks that are run, separated by commas: fgsm, "
        "bim, pgd, mim, jsma, carliniwagnerl2; without it all",
    )
    parser.add_argument(
        "--seeds",
        type=_count,
        help="number of seeds; without it 2, 3 for table2, and 1 for figures",
    )
    parser.add_argument(
        "--examples",
        type=_count,
        help="test images, the first ones; without it 1000 (table2 has all)",
    )
    parser.add_argument(
        "--engine",
        choices=("cleverhans", "keras_gce"),
        help="whose attacks; without it CleverHans's under TensorFlow, ours elsewhere",
    )
    parser.add_argument(
        "--model",
        choices=("lenet5", "resnet20", "resnet56", "resnet50", "small_cnn"),
        help="network",
    )
    _add_dtype_policy(parser)
    parser.add_argument(
        "--output",
        help="folder; without it keras_gce_output/DATASET, or keras_gce_output/figures",
    )


def _reproduce(args):
    from keras_gce import files

    _check_reproduce(args)
    output = args.output or f"keras_gce_output/{args.dataset or 'figures'}"
    files.output_folder(output)
    from keras_gce import recipes

    common = {
        "epochs": args.epochs,
        "model": args.model,
        "data_dir": args.data_dir,
    }
    if args.what in FIGURES:
        text = recipes.reproduce_figure(
            args.what,
            args.dataset,
            output,
            seeds=args.seeds or 1,
            examples=args.examples or 1000,
            **common,
        )
        print(text)
        print(f"The figure, its numbers and any models are in {output}")
        return
    if args.what == "table2":
        table = recipes.reproduce_table2(
            args.dataset,
            output,
            seeds=args.seeds or 3,
            dtype_policy=args.dtype_policy,
            **common,
        )
    else:
        table = recipes.reproduce(
            args.what,
            args.dataset,
            output,
            seeds=args.seeds or 2,
            examples=args.examples or 1000,
            engine=args.engine or _default_engine(),
            attacks=args.attacks and args.attacks.split(","),
            dtype_policy=args.dtype_policy,
            **common,
        )
    print(table)
    print(f"Models, reports and this table are in {output}")


def _check_reproduce(args):
    """Refuses options that mean nothing for the table or the figure."""
    of_losses = args.what in ("figure2", "figure3")
    if not of_losses and args.dataset is None:
        raise InputError(f"`--dataset` must be given. Received: {args.what} without it")
    unused, reason = (), ""
    if args.what == "table2":
        unused, reason = ("attacks",), "it is of natural images"
    elif of_losses:
        unused = ("dataset", "data_dir", "epochs", "seeds", "examples", "model")
        unused = (*unused, "attacks", "engine", "dtype_policy")
        reason = "it is of losses alone"
    elif args.what in FIGURES:
        unused = ("attacks", "engine", "dtype_policy")
        reason = "it is of float32 models that are not attacked"
    for name in unused:
        if getattr(args, name) is not None:
            raise InputError(
                f"`--{name.replace('_', '-')}`: {args.what} has none, {reason}. "
                f"Received: {getattr(args, name)}"
            )


def _default_engine():
    import keras

    return "cleverhans" if keras.backend.backend() == "tensorflow" else "keras_gce"


def _add_tune(commands):
    parser = _add(
        commands,
        "tune",
        _tune,
        "search alpha with KerasTuner; it resumes, and joins a distributed search "
        "where KerasTuner's environment variables say so",
    )
    _add_dataset(parser)
    parser.add_argument(
        "--alphas",
        default="1/2,1/3,1/4,1/5",
        help="exponents to try; the ends of a range for the other tuners",
    )
    parser.add_argument(
        "--tuner",
        choices=("grid", "bayesian", "hyperband"),
        default="grid",
        help="KerasTuner's",
    )
    parser.add_argument(
        "--max-trials", type=_count, help="most trials; without it a whole grid, or 10"
    )
    parser.add_argument(
        "--eps",
        type=_number,
        required=True,
        help="radius of PGD, through cross-entropy and the margin loss",
    )
    parser.add_argument("--steps", type=_count, default=10, help="steps of PGD")
    parser.add_argument(
        "--clean-floor",
        type=_number,
        help="least clean accuracy of the best trial, in [0, 1]",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--examples",
        type=_count,
        default=1000,
        help="images of the validation part, the first ones, that are attacked",
    )
    parser.add_argument(
        "--output", help="folder; without it keras_gce_output/tune-DATASET"
    )


def _tune(args):
    from keras_gce import files

    alphas = []
    for text in args.alphas.split(","):
        try:
            alphas.append(_number(text))
        except argparse.ArgumentTypeError as error:
            raise InputError(f"`--alphas`: each {error}") from error
    output = args.output or f"keras_gce_output/tune-{args.dataset}"
    files.output_folder(output)
    from keras_gce import attacks, datasets, recipes

    try:
        from keras_gce import tuning
    except ModuleNotFoundError as error:
        raise InputError(
            "The search must have KerasTuner installed: pip install "
            f'"keras_gce[tune]". Received: {error}'
        ) from error

    recipe = recipes.recipe_for(
        args.dataset,
        "guided_complement_entropy",
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
    )
    dataset = datasets.load(args.dataset, data_dir=args.data_dir, seed=args.seed)
    validation = dataset.validation
    attack = attacks.PGD(
        eps=args.eps, steps=args.steps, step_size=2.5 * args.eps / args.steps
    )
    search = tuning.search_alpha(
        lambda hp: recipes.network(recipe, dataset),
        dataset.train.batches(
            recipe.batch_size, shuffle=True, augment=recipe.augment, seed=args.seed
        ),
        validation.take(min(args.examples, len(validation))),
        [attack, attack.with_loss("margin")],
        alphas=alphas,
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


def _number(text):
    """A number >= 0: 0.25, or 1/4."""
    try:
        value = float(fractions.Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = -1.0
    if value < 0:
        raise argparse.ArgumentTypeError(
            f"must be a finite number >= 0, such as 0.3 or 1/3. Received: {text}"
        )
    return value


def _any_number(text):
    try:
        return float(fractions.Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"must be a finite number. Received: {text}"
        ) from error


def _count(text):
    return _integer(text, 1)


def _seed(text):
    return _integer(text, 0)


def _integer(text, least):
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"must be an integer >= {least}. Received: {text}"
        )
    return int(text)

"""The options that say how a model is attacked, and the attacks they come to."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_gce import names
from keras_gce.cli import options
from keras_gce.errors import InputError

if TYPE_CHECKING:  # They bring Keras.
    import keras

    from keras_gce.attacks import Attack, LossAttack

__all__ = [
    "add_attacks",
    "attacks_of",
    "curve_attack",
    "radii_of",
    "usual_in_l1",
]

USUAL = ("fgsm", "pgd", "noise", "autoattack")
# In l1, which FGSM and PGD do not know.
USUAL_L1 = ("apgd", "noise", "autoattack")
# Radii of the page's curves, in the greatest eps.
RADII = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2)
# What an attack's own default decides where it isn't given.
SETTINGS = ("steps", "step_size", "restarts", "queries", "eot_samples", "seed")


def add_attacks(parser: options.Parser) -> None:
    """Adds the attacks and their settings."""
    parser.add_argument(
        "--eps",
        type=options.numbers,
        required=True,
        metavar="EPS[,EPS...]",
        help="radius of the ball, in the unit of the pixels: 0.03 or 8/255; several "
        "give one report",
    )
    parser.add_argument(
        "--bounds",
        type=options.any_number,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(0.0, 1.0),
        help="least and greatest value of a pixel, as the model takes them: 0 255",
    )
    parser.add_argument(
        "--norm", type=str.lower, choices=names.NORMS, default="linf", help="norm"
    )
    others = ", ".join(name for name in names.ATTACKS if name not in USUAL)
    parser.add_argument(
        "--attacks",
        type=options.names_among(names.ATTACKS),
        default=",".join(USUAL),
        help=f"attacks, separated by commas: these, {others}",
    )
    parser.add_argument(
        "--steps",
        type=options.count,
        help="steps of bim, pgd, mim, apgd, apgdt, fab and fmn; AutoAttack keeps its "
        "own",
    )
    parser.add_argument(
        "--step-size",
        type=options.positive,
        help="their length of bim, pgd and mim, in the unit of the pixels",
    )
    parser.add_argument(
        "--restarts", type=options.count, help="starts of pgd, apgd, apgdt and fab"
    )
    parser.add_argument(
        "--queries", type=options.count, help="queries of square and hopskipjump"
    )
    parser.add_argument(
        "--eot-samples",
        type=options.count,
        help="passes over which each gradient is averaged, of a model that draws "
        'random numbers; AutoAttack is its "rand" version with more than one',
    )
    parser.add_argument(
        "--seed", type=options.seed, help="decides what is random; without it 0"
    )
    parser.add_argument(
        "--threat-model",
        type=str.lower,
        choices=names.THREAT_MODELS,
        default="adaptive",
        help="what the attacks ascend",
    )
    parser.add_argument(
        "--engine",
        type=str.lower,
        choices=names.ENGINES,
        default="keras_gce",
        help="whose",
    )


def usual_in_l1(args: argparse.Namespace) -> str | None:
    """Puts the usual attacks right for l1; returns what it did.

    Args:
        args: The parsed arguments, whose attacks are replaced.
    """
    if args.norm != "l1" or args.attacks != list(USUAL):
        return None
    args.attacks = list(USUAL_L1)
    return "fgsm and pgd do not know l1: apgd in their place"


def attacks_of(
    args: argparse.Namespace, source: "keras.Model | None" = None
) -> "list[Attack]":
    """Returns the attacks of a command line, the smallest radius first.

    Args:
        args: The parsed arguments.
        source: A second model, whose adversarial examples are tried too. Defaults to
            `None`.

    Raises:
        InputError: If none of them has a setting that is given, or one can't be made.
    """
    from keras_gce.attacks import Transfer

    given = {n: getattr(args, n) for n in SETTINGS if getattr(args, n) is not None}
    used: set[str] = set()
    attacks = []
    for eps in sorted(set(args.eps)):
        for name in args.attacks:
            if name in names.EPS_FREE_ATTACKS and eps != min(args.eps):
                continue
            attack, settings = _kind(name, args, eps)
            own = {f.name for f in dataclasses.fields(attack)} & set(given)
            if name == "fgsm":  # One whole step, whose engine may have a field for it.
                own -= {"steps", "step_size"}
            used |= own
            attacks.append(attack(**settings, **{n: given[n] for n in own}))
        if source is not None:
            used.add("seed")
            pgd = curve_attack(args, eps, seed=args.seed)
            attacks.append(Transfer(source=source, attack=pgd))
    for name in given:
        if name not in used:
            raise InputError(
                f"`--{name.replace('_', '-')}` must be of one of the attacks. "
                f"Received: {given[name]} with {', '.join(args.attacks)}"
            )
    return attacks


def _kind(
    name: str, args: argparse.Namespace, eps: float
) -> "tuple[type[Attack], dict[str, Any]]":
    """The class of an attack, and the settings that it always gets."""
    from keras_gce import attacks
    from keras_gce.evaluation.cleverhans import CleverHansAttack

    ball = {"eps": eps, "norm": args.norm}
    if args.engine == "cleverhans" and name in names.CLEVERHANS_ATTACKS:
        return CleverHansAttack, {"attack": name, **ball}
    kind = getattr(attacks, names.ATTACKS[name])
    own = {field.name for field in dataclasses.fields(kind)}
    settings = {name: value for name, value in ball.items() if name in own}
    if name == "autoattack" and (args.eot_samples or 1) > 1:
        settings["version"] = "rand"
    return kind, settings


def curve_attack(
    args: argparse.Namespace, eps: float | None = None, seed: int | None = 0
) -> "LossAttack":
    """Returns the PGD of curves and of transfer, by default at the greatest radius.

    In l1, which PGD does not know, it is Auto-PGD.
    """
    from keras_gce.evaluation.own_attack import own_attack

    eps = max(args.eps) if eps is None else eps
    attack = own_attack(eps, args.norm, args.bounds, seed=seed)
    return dataclasses.replace(attack, eot_samples=args.eot_samples or 1)


def radii_of(eps: Sequence[float]) -> list[float]:
    """Returns the radii of the curves around those of the attacks."""
    most = max(eps)
    return sorted({*(most * share for share in RADII), *(e for e in eps if e)})

"""The names that a user types: once, for the command line and for the rooms.

Nothing here imports Keras, so that the parser knows them before it; that each room has
what its names promise is tested.
"""

__all__ = [
    "ATTACKS",
    "CLEVERHANS_ATTACKS",
    "DATASETS",
    "DTYPE_POLICIES",
    "ENGINES",
    "EPS_FREE_ATTACKS",
    "FIGURES",
    "LOSSES",
    "NETWORKS",
    "NORMS",
    "PAPER_ATTACKS",
    "TABLES",
    "THREAT_MODELS",
    "TUNERS",
]

DATASETS = ("digits", "mnist", "cifar10", "cifar100", "tiny_imagenet")
NETWORKS = ("lenet5", "resnet20", "resnet56", "resnet50", "small_cnn")
LOSSES = ("crossentropy", "cot", "guided_complement_entropy")
DTYPE_POLICIES = ("mixed_float16", "mixed_bfloat16")
# On the command line -> the class in `keras_gce.attacks`.
ATTACKS = {
    "fgsm": "FGSM",
    "bim": "BIM",
    "pgd": "PGD",
    "mim": "MIM",
    "noise": "RandomNoise",
    "apgd": "APGD",
    "apgdt": "APGDT",
    "fab": "FAB",
    "square": "Square",
    "autoattack": "AutoAttack",
    "jsma": "JSMA",
    "carliniwagnerl2": "CarliniWagnerL2",
}
# Of these: those that CleverHans runs too, those without eps, those of the paper.
CLEVERHANS_ATTACKS = ("fgsm", "bim", "pgd", "mim")
EPS_FREE_ATTACKS = ("jsma", "carliniwagnerl2")
PAPER_ATTACKS = (*CLEVERHANS_ATTACKS, *EPS_FREE_ATTACKS)
NORMS = ("linf", "l2")
THREAT_MODELS = ("adaptive", "crossentropy", "paper")
ENGINES = ("keras_gce", "cleverhans")
TUNERS = ("grid", "bayesian", "hyperband")
# Of the paper.
TABLES = ("table2", "table3", "table4", "table5", "table6")
FIGURES = ("figure1", "figure2", "figure3", "figure4")

"""The names that a user types: once, for the command line and for the rooms.

Nothing here imports Keras, so that the parser knows them before it; that each room has
what its names promise is tested.
"""

__all__ = [
    "ADVERSARIAL",
    "ATTACKS",
    "CLEVERHANS_ATTACKS",
    "DATASETS",
    "DTYPE_POLICIES",
    "ENGINES",
    "EPS_FREE_ATTACKS",
    "EXPERIMENTS",
    "FIGURES",
    "FLAGS",
    "L1_ATTACKS",
    "LOSSES",
    "NETWORKS",
    "NORMS",
    "OBJECTIVES",
    "PAPER_ATTACKS",
    "TABLES",
    "THREAT_MODELS",
    "TUNERS",
]

DATASETS = ("digits", "mnist", "cifar10", "cifar100", "tiny_imagenet")
NETWORKS = ("lenet5", "resnet20", "resnet56", "resnet50", "small_cnn")
LOSSES = ("crossentropy", "cot", "guided_complement_entropy")
# Of adversarial training: many steps, or one (Wong et al. 2020).
ADVERSARIAL = ("pgd", "fast")
# Of adversarial training -> the class in `keras_gce.training`.
OBJECTIVES = {"trades": "TRADES", "mart": "MART"}
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
    "hopskipjump": "HopSkipJump",
    "autoattack": "AutoAttack",
    "jsma": "JSMA",
    "carliniwagnerl2": "CarliniWagnerL2",
    "fmn": "FMN",
}
# Of these: those that CleverHans runs too, those without eps, those of the paper.
CLEVERHANS_ATTACKS = ("fgsm", "bim", "pgd", "mim")
EPS_FREE_ATTACKS = ("jsma", "carliniwagnerl2", "fmn")
PAPER_ATTACKS = (*CLEVERHANS_ATTACKS, "jsma", "carliniwagnerl2")
NORMS = ("linf", "l2", "l1")
# Of the attacks: those that know l1 too.
L1_ATTACKS = ("noise", "apgd", "apgdt", "fab", "square", "autoattack", "fmn")
THREAT_MODELS = ("adaptive", "crossentropy", "paper")
ENGINES = ("keras_gce", "cleverhans")
TUNERS = ("grid", "bayesian", "hyperband")
# What a report's checks are called.
FLAGS = (
    "nan_outputs",
    "constant_outputs",
    "near_chance",
    "pixel_unit",
    "eps_covers_range",
    "training_loss_hides",
    "one_step_beats_iterative",
    "one_step_does_nothing",
    "larger_eps_is_weaker",
    "black_box_beats_white_box",
    "zero_gradients",
    "nan_gradients",
    "loss_does_not_rise",
    "unbounded_attack_fails",
    "more_steps_gain",
    "random_directions_beat_gradient",
    "black_box_gains_with_eps",
    "substitute_beats_attacks",
    "randomised_outputs",
    "logits_stand_still",
    "logits_jump",
    "softmax_saturates",
    "logit_scale",
)
# Of the paper.
TABLES = ("table2", "table3", "table4", "table5", "table6")
FIGURES = ("figure1", "figure2", "figure3", "figure4")
# Not of the paper: questions that it leaves open.
EXPERIMENTS = ("outer_loss",)

"""The figures that the paper prints, by table, dataset, attack and budget."""

from typing import TypeAlias

__all__ = ["ACCURACIES", "ALPHAS", "ERRORS", "TABLE_LOSSES", "beside"]


def beside(dataset: str) -> tuple[str, str]:
    """Returns whose figures stand beside a dataset's, and the head of their column."""
    # The paper has no digits; MNIST's figures are the nearest there are.
    return ("mnist", "paper (on MNIST)") if dataset == "digits" else (dataset, "paper")


# Table 2: error in % of the model trained with cross-entropy, and with GCE at each
# alpha.
ALPHAS = (1 / 2, 1 / 3, 1 / 4, 1 / 5)
ERRORS = {
    "mnist": (0.80, 0.61, 0.67, 0.64, 0.68),
    "cifar10": (7.99, 9.18, 7.18, 6.93, 6.91),
    "cifar100": (31.90, 40.59, 31.75, 31.80, 31.48),
    "tiny_imagenet": (39.54, 43.36, 38.56, 38.69, 38.26),
}

# The models of each table, in the order of its figures.
TABLE_LOSSES = {
    "table3": ("crossentropy", "guided_complement_entropy"),
    "table4": ("crossentropy", "guided_complement_entropy"),
    "table5": ("crossentropy", "cot", "guided_complement_entropy"),
    "table6": ("crossentropy", "guided_complement_entropy"),
}

# Accuracy in %: dataset -> attack and budget -> the models of the table.
Accuracies: TypeAlias = dict[str, dict[tuple[str, str], tuple[float, ...]]]
TABLE3: Accuracies = {
    "mnist": {
        ("FGSM", "0.1"): (78.32, 87.66),
        ("FGSM", "0.2"): (38.88, 62.74),
        ("FGSM", "0.3"): (14.99, 47.21),
        ("BIM", "0.1"): (53.14, 61.92),
        ("BIM", "0.2"): (2.15, 34.49),
        ("BIM", "0.3"): (0.01, 33.45),
        ("PGD", "0.1"): (46.85, 51.85),
        ("PGD", "0.2"): (1.58, 9.55),
        ("PGD", "0.3"): (0.0, 2.22),
        ("MIM", "0.1"): (48.28, 61.18),
        ("MIM", "0.2"): (2.29, 39.81),
        ("MIM", "0.3"): (0.01, 38.78),
        ("JSMA", "gamma 0.25"): (1.53, 26.24),
        ("JSMA", "gamma 0.5"): (0.1, 17.26),
        ("CarliniWagnerL2", ""): (0.0, 25.6),
    },
    "cifar10": {
        ("FGSM", "0.04"): (14.76, 41.22),
        ("FGSM", "0.12"): (9.58, 14.82),
        ("FGSM", "0.2"): (8.78, 11.81),
        ("BIM", "0.04"): (0.25, 19.59),
        ("BIM", "0.12"): (0.0, 3.03),
        ("BIM", "0.2"): (0.0, 1.97),
        ("PGD", "0.04"): (0.0, 5.91),
        ("PGD", "0.12"): (0.0, 1.89),
        ("PGD", "0.2"): (0.0, 1.66),
        ("MIM", "0.04"): (0.0, 15.44),
        ("MIM", "0.12"): (0.0, 13.1),
        ("MIM", "0.2"): (0.0, 12.69),
        ("JSMA", "gamma 0.07"): (1.09, 18.72),
        ("JSMA", "gamma 0.14"): (0.14, 10.94),
        ("CarliniWagnerL2", ""): (0.0, 0.8),
    },
}
TABLE4: Accuracies = {
    "cifar100": {
        ("PGD", "0.04"): (0.04, 2.94),
        ("PGD", "0.12"): (0.0, 0.46),
        ("PGD", "0.2"): (0.0, 0.19),
    },
    "tiny_imagenet": {
        ("PGD", "0.04"): (0.0, 9.52),
        ("PGD", "0.12"): (0.0, 4.27),
        ("PGD", "0.2"): (0.0, 1.11),
    },
}
TABLE5: Accuracies = {
    "mnist": {
        ("FGSM", "0.2"): (38.88, 51.8, 62.74),
        ("BIM", "0.2"): (2.15, 4.35, 34.49),
        ("MIM", "0.2"): (2.29, 4.26, 39.81),
        ("JSMA", "gamma 0.25"): (1.53, 11.13, 26.24),
        ("CarliniWagnerL2", ""): (0.0, 11.9, 25.6),
    },
    "cifar10": {
        ("FGSM", "0.04"): (14.76, 33.62, 41.22),
        ("BIM", "0.04"): (0.25, 7.49, 19.59),
        ("MIM", "0.04"): (0.0, 0.0, 15.44),
        ("JSMA", "gamma 0.07"): (1.09, 8.25, 18.72),
        ("CarliniWagnerL2", ""): (0.0, 0.0, 0.8),
    },
}
TABLE6: Accuracies = {
    "mnist": {("PGD", "0.3"): (83.67, 83.85)},
    "cifar10": {("PGD", "0.04"): (41.5, 41.57), ("PGD", "0.08"): (12.93, 13.16)},
}
ACCURACIES = {"table3": TABLE3, "table4": TABLE4, "table5": TABLE5, "table6": TABLE6}

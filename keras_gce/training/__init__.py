"""Training that holds: adversarial training, and the COT baseline.

Both wrap a model. The wrapped model is the product: it is what is saved, exported
and attacked, and it is compiled with the same loss and optimizer.
"""

from keras_gce.training.adversarial import AdversarialModel
from keras_gce.training.complement import ComplementObjectiveModel
from keras_gce.training.objectives import MART, TRADES, Batch, Objective
from keras_gce.training.perturbation import AWP

__all__ = [
    "AWP",
    "MART",
    "TRADES",
    "AdversarialModel",
    "Batch",
    "ComplementObjectiveModel",
    "Objective",
]

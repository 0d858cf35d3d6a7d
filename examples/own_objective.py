"""Adversarial training on an objective of your own, beside plain and TRADES.

    python examples/own_objective.py

An objective is a frozen dataclass with a `loss` of what the model makes of a batch and
of its adversarial twin, in `keras.ops`. Here it is adversarial logit pairing (Kannan et
al., 2018, arXiv 1803.06373): the compiled loss of both, and how far their logits lie
apart. On ImageNet it did not survive stronger attacks (Engstrom et al., 2018, arXiv
1807.10272), so look at what is left under all attacks together. With KERAS_GCE_SMALL=1
it trains and attacks for seconds only.
"""

import dataclasses
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from keras import ops

import keras_gce
from keras_gce.attacks import FAB, PGD
from keras_gce.training import TRADES, Objective


@keras.saving.register_keras_serializable(package="examples")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitPairing(Objective):
    weight: float = 0.5

    def loss(self, batch):
        both = batch.compiled_loss(batch.natural)
        both += batch.compiled_loss(batch.adversarial)
        apart = ops.mean(ops.square(batch.natural - batch.adversarial), axis=-1)
        return both / 2 + self.weight * batch.mean(apart)


small = os.environ.get("KERAS_GCE_SMALL") == "1"
data = keras_gce.datasets.load("digits")
images, labels = data.train.arrays()
test = data.test.take(50) if small else data.test
steps = 5 if small else 40
attacks = [PGD(eps=0.1, step_size=0.01, steps=steps), FAB(eps=0.1, steps=steps)]

rows = {}
for name, settings in {
    "natural_weight=0.5": {"natural_weight": 0.5},
    "LogitPairing()": {"objective": LogitPairing()},
    "TRADES()": {"objective": TRADES()},
}.items():
    keras.utils.set_random_seed(0)
    model = keras_gce.models.SmallCNN()
    attack = PGD(eps=0.1, step_size=0.025, steps=5, seed=0)
    trained = keras_gce.AdversarialModel(model, attack, warmup_steps=100, **settings)
    trained.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    trained.fit(images, labels, batch_size=32, epochs=1 if small else 20, verbose=0)
    rows[name] = keras_gce.evaluate(
        model, test, attacks, progress=not small, diagnostics=not small
    )

print(f"{len(test.labels)} test images of digits, eps 0.1, one seed each:")
print(f"  {'trained with':20} {'clean':>6} {'worst case':>11}")
for name, report in rows.items():
    clean, worst = report.clean_accuracy, report.worst_case_accuracy
    print(f"  {name:20} {clean:6.1%} {worst:11.1%}")
    for flag in report.flags:
        print(f"    {flag.name}: {flag.message}")
print("One seed can't tell objectives apart that lie a few per cent from each other.")

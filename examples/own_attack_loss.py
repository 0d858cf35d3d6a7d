"""An attack that ascends a loss of your own, beside those that have a name.

    python examples/own_attack_loss.py

The loss is a function of the labels and the logits that returns one value an example,
in `keras.ops`. Here it is cross-entropy on logits of length 1: a model cannot hide from
it by making its logits so large that cross-entropy rounds to 0. With
KERAS_GCE_SMALL=1 it trains and attacks for seconds only.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from keras import ops

import keras_gce
from keras_gce.attacks import PGD


def scaled_crossentropy(y, logits):
    length = ops.sqrt(ops.sum(ops.square(logits), axis=-1, keepdims=True))
    # The length is a scale, not a way to raise the loss: no gradient through it.
    logits = logits / ops.stop_gradient(length + 1e-12)
    return ops.sparse_categorical_crossentropy(y, logits, from_logits=True)


small = os.environ.get("KERAS_GCE_SMALL") == "1"
data = keras_gce.datasets.load("digits")
images, labels = data.train.arrays()

keras.utils.set_random_seed(0)
model = keras_gce.models.SmallCNN()
model.compile(
    keras.optimizers.Adam(3e-3),
    loss=keras_gce.losses.GuidedComplementEntropy(from_logits=True),
)
model.fit(images, labels, batch_size=32, epochs=2 if small else 30, verbose=0)

# "training" is the loss that the model was compiled with. A threat model would set the
# losses itself; with `threat_model=None` each attack keeps the one that it carries.
attack = PGD(eps=0.1, step_size=0.1 / 16, steps=5 if small else 40)
report = keras_gce.evaluate(
    model,
    data.test.take(50) if small else data.test,
    [
        attack.with_loss(loss)
        for loss in ("training", "crossentropy", "margin", "dlr", scaled_crossentropy)
    ],
    threat_model=None,
    progress=not small,
    diagnostics=False,  # It is about the rows.
)
print(report.to_markdown())
print("Accuracy left by each loss; robust is only what none of them breaks:")
for result in report.results:
    print(f"  {result.loss:20} {result.robust_accuracy:6.1%}")
print(f"  {'worst case':20} {report.worst_case_accuracy:6.1%}")

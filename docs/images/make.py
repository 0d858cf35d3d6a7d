"""Makes three of the pictures in the docs, from digits, in a few minutes.

    python docs/images/make.py [FOLDER]

accuracy_curves.png and adversarial_examples.png: a small network trained with GCE,
attacked by PGD. training_curves.png: the same network in adversarial training. The
others are those of `keras-gce reproduce`, and of benchmarks/training_methods.py, as the
docs say.
"""

import dataclasses
import io
import os
import pathlib
import sys

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from PIL import Image

import keras_gce
from keras_gce import datasets, evaluation, models, plotting
from keras_gce.attacks import FGSM, PGD

EPS = 0.1
folder = pathlib.Path(sys.argv[1] if sys.argv[1:] else pathlib.Path(__file__).parent)
data = datasets.load("digits")


def save(figure, name):
    # 1400 pixels wide, which readers see at half that.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=1400 / figure.get_size_inches()[0])
    # Half the bytes, and nothing is seen of it.
    small = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(folder / name, optimize=True)
    print(folder / name)


def compiled(model):
    loss = keras_gce.losses.GuidedComplementEntropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model


keras.utils.set_random_seed(0)
model = compiled(models.SmallCNN())
model.fit(*data.train.arrays(), batch_size=32, epochs=30, verbose=0)
test = data.test.arrays()
attack = PGD(eps=EPS, steps=40, step_size=EPS / 16, seed=0)
report = keras_gce.evaluate(model, test, [FGSM(eps=EPS), attack])
print(report.to_markdown())
report = dataclasses.replace(
    report,
    class_names=data.class_names,
    curves=evaluation.accuracy_curves(
        model, test, [EPS * share for share in (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2)]
    ),
)
for curve in report.curves:
    print(curve.threat_model, curve.eps, [round(share, 4) for share in curve.accuracy])
save(plotting.accuracy_curves(report, dataset="digits"), "accuracy_curves.png")
save(
    plotting.adversarial_examples(report, dataset="digits"), "adversarial_examples.png"
)

keras.utils.set_random_seed(0)
wrapper = keras_gce.AdversarialModel(
    models.SmallCNN(), PGD(eps=EPS, steps=10, step_size=EPS / 4), warmup_steps=450
)
validation = data.validation.arrays()
attacks = [attack, attack.with_loss("margin")]
history = compiled(wrapper).fit(
    *data.train.arrays(),
    validation_data=validation,
    batch_size=32,
    epochs=40,
    verbose=0,
    callbacks=[keras_gce.callbacks.RobustAccuracy(validation, attacks)],
)
print({name: round(values[-1], 4) for name, values in history.history.items()})
figure = plotting.training_curves(
    history,
    title=f"digits, small_cnn, GCE, adversarial training (PGD, linf, eps {EPS:g})",
    attack=attacks,
    training="training batches, perturbed",
)
save(figure, "training_curves.png")

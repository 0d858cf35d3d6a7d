"""Our AutoAttack beside the authors': same model, images and eps.

    python benchmarks/autoattack.py MODEL.keras --official FOLDER --torch-python PYTHON

FOLDER is a clone of github.com/fra31/auto-attack. The authors' code runs in a process
of its own under Keras's torch backend: PYTHON is that of an environment with keras and
torch (the CPU build: `pip install torch==2.13.0 keras`), by default this one.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--official", required=True)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf")
    parser.add_argument("--examples", type=int, default=500)
    args = parser.parse_args()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from keras_gce import datasets

    x, y = datasets.load(args.dataset).test.take(args.examples).arrays()
    ours = run_ours(args, x, y)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "data.npz", x=x, y=y)
        subprocess.run(
            [
                args.torch_python,
                "-c",
                OFFICIAL,
                args.model,
                args.official,
                str(folder),
                str(args.eps),
                {"linf": "Linf", "l2": "L2"}[args.norm],
            ],
            env=os.environ | {"KERAS_BACKEND": "torch"},
            check=True,
        )
        theirs = json.loads((folder / "result.json").read_text())
    print_table(args, ours, theirs, y)


def run_ours(args, x, y):
    from keras_gce import evaluate, saving
    from keras_gce.attacks import AutoAttack

    model = saving.load_model(args.model)
    start = time.perf_counter()
    report = evaluate(model, (x, y), AutoAttack(eps=args.eps, norm=args.norm, seed=0))
    return {
        "clean": report.clean_accuracy,
        "after": [(row.name, row.robust_accuracy) for row in report.results],
        "robust": report.robust.tolist(),
        "seconds": time.perf_counter() - start,
    }


# Alone in its process, since Keras has one backend.
OFFICIAL = """
import json, pathlib, sys, time
import numpy as np
model_path, official, folder, eps, norm = sys.argv[1:]
sys.path.insert(0, official)
import keras, torch
from autoattack import AutoAttack

torch.set_default_device("cpu")
folder = pathlib.Path(folder)
data = np.load(folder / "data.npz")
# The loss, which may be ours, is not needed here.
model = keras.models.load_model(model_path, compile=False)
last = model.layers[-1]
if getattr(last, "activation", None) is keras.activations.softmax:
    last.activation = keras.activations.linear
x = torch.tensor(data["x"].transpose(0, 3, 1, 2))
y = torch.tensor(data["y"].astype("int64"))

def logits(images):
    return model(images.permute(0, 2, 3, 1), training=False)

with torch.no_grad():
    clean = (logits(x).argmax(-1) == y).numpy()
start = time.perf_counter()
attack = AutoAttack(logits, norm=norm, eps=float(eps), seed=0, device="cpu",
                    log_path=folder / "log.txt")
x_adv = attack.run_standard_evaluation(x, y, bs=500)
seconds = time.perf_counter() - start
with torch.no_grad():
    robust = (logits(x_adv).argmax(-1) == y).numpy() & clean
result = {"clean": float(clean.mean()), "robust": robust.tolist(), "seconds": seconds}
(folder / "result.json").write_text(json.dumps(result))
"""


def print_table(args, ours, theirs, y):
    both = np.array([ours["robust"], theirs["robust"]])
    print(f"{args.model}, {args.dataset}, {len(y)} images, {args.norm} {args.eps:g}")
    for name, accuracy in ours["after"]:
        print(f"ours, after {name}: {accuracy:.2%}")
    print("| | clean % | robust % | seconds |\n|---|---|---|---|")
    for name, side in (("keras_gce", ours), ("authors' (PyTorch)", theirs)):
        print(
            f"| {name} | {100 * side['clean']:.2f} "
            f"| {100 * np.mean(side['robust']):.2f} | {side['seconds']:.1f} |"
        )
    print(
        f"difference {100 * (both[0].mean() - both[1].mean()):+.2f} points, "
        f"{(both[0] != both[1]).sum()} images decided differently; "
        f"the authors' time / ours {theirs['seconds'] / ours['seconds']:.2f}"
    )


if __name__ == "__main__":
    main()

"""keras_gce's attacks beside CleverHans's, ART's and Foolbox's.

    pip install -e ".[all,bench]"
    python benchmarks/attacks.py MODEL.keras --dataset mnist

Same model, images, targets and settings. Each library attacks in a process of its
own, one after the other; the memory is the most that its calls added to what the
process held with the library and the model loaded. A library that fails is listed
with its error. Prints a Markdown table.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

# Untargeted PGD as the paper has it; the next two towards the same wrong classes; FMN
# untargeted, with 100 steps, whose distances are in the norm of its name.
NORMS = {"fmn linf": np.inf, "fmn l2": 2, "fmn l1": 1}
ATTACKS = ("pgd", "pgd evaluation", "jsma", "carlini_wagner", *NORMS)
LIBRARIES = ("keras_gce", "cleverhans", "art", "foolbox")
EPS, STEP_SIZE, STEPS, GAMMA = 0.3, 0.01, 40, 0.25
SEARCH_STEPS, ITERATIONS, CONST, RATE = 9, 1000, 1e-3, 5e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="MODEL.keras, as `keras-gce train` writes it")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--attacks", nargs="+", default=ATTACKS, choices=ATTACKS)
    parser.add_argument("--libraries", nargs="+", default=LIBRARIES, choices=LIBRARIES)
    parser.add_argument("--images", type=int, default=500, help="for PGD")
    parser.add_argument("--jsma-images", type=int, default=100)
    parser.add_argument("--cw-images", type=int, default=20)
    parser.add_argument("--fmn-images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="calls after the first")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, *args.one, args.repeats)))
        return
    from keras_gce import datasets

    test = datasets.load(args.dataset, data_dir=args.data_dir).test
    print(
        "| attack | images | library | first call s | call s | time / ours | "
        "accuracy left % | success % | mean l2 | mean l0 | median distance | "
        "added MB |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    counts = {"jsma": args.jsma_images, "carlini_wagner": args.cw_images}
    counts |= dict.fromkeys(NORMS, args.fmn_images)
    for attack in args.attacks:
        count = counts.get(attack, args.images)
        x, y = test.take(count).arrays()
        offset = np.random.default_rng(0).integers(1, 10, count)
        ours = None
        for library in args.libraries:
            with tempfile.NamedTemporaryFile(suffix=".npz") as data:
                np.savez(data, x=x, y=y, targets=((y + offset) % 10).astype("int32"))
                data.flush()
                command = [sys.executable, __file__, args.model, "--one", attack]
                command += [library, data.name, "--repeats"]
                # Minutes a call: one is enough.
                command.append("0" if attack == "carlini_wagner" else str(args.repeats))
                process = subprocess.run(command, capture_output=True, text=True)
            if process.returncode:
                error = (process.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"| {attack} | {count} | {library} | {error} |", flush=True)
                continue
            row = json.loads(process.stdout.strip().splitlines()[-1])
            ours = row["seconds"] if library == "keras_gce" else ours
            ratio = row["seconds"] / ours if ours else float("nan")
            print(
                f"| {attack} | {count} | {library} | {row['first']:.2f} | "
                f"{row['seconds']:.2f} | {ratio:.2f} | {row['accuracy']:.2f} | "
                f"{row['success']:.2f} | {row['l2']:.3f} | {row['l0']:.1f} | "
                f"{row['distance']:.4f} | {row['added']:.0f} |",
                flush=True,
            )


def measure(path, attack, library, data, repeats):
    """Runs one attack of one library; the figures as a dict."""
    import keras

    import keras_gce.losses  # noqa: F401

    model = keras.models.load_model(path)
    data = np.load(data)
    x, y, targets = data["x"], data["y"], data["targets"]
    untargeted = attack.startswith(("pgd", "fmn"))
    call = globals()[f"{library}_attack"](attack, model, x, y, targets)
    model.predict(x, verbose=0)
    held = memory("VmRSS")
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        x_adv = np.asarray(call())
        seconds.append(time.perf_counter() - start)
    added = memory("VmHWM") - held
    classes = model.predict(x_adv, verbose=0).argmax(-1)
    success = classes != y if untargeted else classes == targets
    delta = (x_adv - x).reshape(len(x), -1)
    # Of all images, as `evaluation.distances` counts: infinite where none was found.
    away = np.linalg.norm(delta, NORMS.get(attack, 2), axis=1)
    distance = float(np.median(np.where(success, away, np.inf)))
    delta = delta[success]
    return {
        "distance": distance,
        "first": seconds[0],
        "seconds": statistics.median(seconds[1:] or seconds),
        "accuracy": 100 * float((classes == y).mean()),
        "success": 100 * float(success.mean()),
        "l2": float(np.linalg.norm(delta, axis=1).mean()) if len(delta) else 0.0,
        # ART and Foolbox return unchanged pixels changed by rounding.
        "l0": float((np.abs(delta) > 1e-6).sum(1).mean()) if len(delta) else 0.0,
        "added": added,
    }


def memory(name):
    """One of Linux's figures of this process's memory, in MB."""
    # getrusage's maximum would be inherited from the parent.
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024


def keras_gce_attack(attack, model, x, y, targets):
    from keras_gce.attacks import FMN, JSMA, PGD, CarliniWagnerL2
    from keras_gce.classifier import Classifier

    if attack in NORMS:
        return lambda: FMN(norm=attack.split()[1])(model, x, y)
    if attack == "jsma":
        return lambda: JSMA(gamma=GAMMA, targeted=True)(model, x, targets)
    if attack == "carlini_wagner":
        return lambda: CarliniWagnerL2(targeted=True)(model, x, targets)
    pgd = PGD(eps=EPS, step_size=STEP_SIZE, steps=STEPS, seed=0)
    if attack == "pgd":
        return lambda: pgd(model, x, y)
    # As `evaluate` calls it: an example leaves at its first success.
    return lambda: pgd.run(Classifier(model), x, y, stop_early=True)


def cleverhans_attack(attack, model, x, y, targets):
    import tensorflow as tf
    from cleverhans.tf2.attacks.carlini_wagner_l2 import carlini_wagner_l2
    from cleverhans.tf2.attacks.projected_gradient_descent import (
        projected_gradient_descent,
    )

    if attack == "jsma" or attack in NORMS:
        raise NotImplementedError(f"CleverHans 4 has no {attack} for TensorFlow 2")
    if attack == "carlini_wagner":
        return lambda: carlini_wagner_l2(
            model,
            x,
            y=targets,
            targeted=True,
            batch_size=len(x),
            binary_search_steps=SEARCH_STEPS,
            max_iterations=ITERATIONS,
            initial_const=CONST,
            learning_rate=RATE,
        )
    x, y = tf.constant(x), tf.constant(y)

    def logits(x):
        return model(x, training=False)

    return lambda: projected_gradient_descent(
        logits,
        x,
        EPS,
        STEP_SIZE,
        STEPS,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=y,
        sanity_checks=False,
    )


def art_attack(attack, model, x, y, targets):
    import keras
    from art.attacks import evasion
    from art.estimators.classification import TensorFlowV2Classifier

    if attack in NORMS:
        raise NotImplementedError("FMN: not compared")
    classifier = TensorFlowV2Classifier(
        model,
        nb_classes=10,
        input_shape=x.shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    common = {"batch_size": len(x), "verbose": False}
    one_hot = np.eye(10, dtype="float32")
    if attack == "jsma":
        jsma = evasion.SaliencyMapMethod(classifier, theta=1.0, gamma=GAMMA, **common)
        return lambda: jsma.generate(x, y=one_hot[targets])
    if attack == "carlini_wagner":
        cw = evasion.CarliniL2Method(
            classifier,
            targeted=True,
            binary_search_steps=SEARCH_STEPS,
            max_iter=ITERATIONS,
            initial_const=CONST,
            learning_rate=RATE,
            **common,
        )
        return lambda: cw.generate(x, y=one_hot[targets])
    pgd = evasion.ProjectedGradientDescent(
        classifier,
        eps=EPS,
        eps_step=STEP_SIZE,
        max_iter=STEPS,
        num_random_init=1,
        **common,
    )
    return lambda: pgd.generate(x, y=one_hot[y])


def foolbox_attack(attack, model, x, y, targets):
    import foolbox
    import tensorflow as tf

    wrapped = foolbox.TensorFlowModel(model, bounds=(0, 1), device="/device:CPU:0")
    x, labels = tf.constant(x), tf.constant(y, tf.int32)
    if attack == "jsma":
        raise NotImplementedError("Foolbox 3 has no JSMA")
    if attack in NORMS:
        name = {"fmn linf": "LInf", "fmn l2": "L2", "fmn l1": "L1"}[attack]
        fmn = getattr(foolbox.attacks, f"{name}FMNAttack")()
        return lambda: fmn(wrapped, x, labels, epsilons=None)[1].numpy()
    if attack == "carlini_wagner":
        cw = foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=SEARCH_STEPS,
            steps=ITERATIONS,
            stepsize=RATE,
            initial_const=CONST,
        )
        goal = foolbox.criteria.TargetedMisclassification(tf.constant(targets))
        return lambda: cw(wrapped, x, goal, epsilons=None)[1].numpy()
    pgd = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS)
    return lambda: pgd(wrapped, x, labels, epsilons=EPS)[1].numpy()


if __name__ == "__main__":
    main()

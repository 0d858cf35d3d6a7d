"""AutoAttack under one backend: calls, compilations, and the time of each call.

    KERAS_BACKEND=jax python benchmarks/compilations.py --examples 1000 MODEL.keras

The model is one for MNIST; where there is no such file a LeNet-5 is trained for an
epoch and saved there. AutoAttack's attacks run `--repeats` times, each on what is left,
on the same images from one seed, so that what the first round takes beyond the second
is compilation, most of it. Prints a Markdown table: calls of compiled functions,
programs compiled meanwhile (under JAX all of XLA's; elsewhere the traced functions),
seconds, those of the CPU, which other processes lengthen less, and the share of images
left right.
"""

import argparse
import dataclasses
import os
import pathlib
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="path of a .keras file")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--steps", type=int, help="of APGD, APGD-T and FAB-T")
    parser.add_argument("--queries", type=int, help="of Square")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--data-dir")
    args = parser.parse_args()

    import keras
    import numpy as np

    from keras_gce import backend, datasets, models, saving
    from keras_gce.attacks import AutoAttack
    from keras_gce.classifier import Classifier

    data = datasets.load("mnist", validation=0, data_dir=args.data_dir)
    if not pathlib.Path(args.model).exists():
        keras.utils.set_random_seed(0)
        model = models.LeNet5()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        model.fit(*data.train.arrays(), epochs=1, batch_size=128, verbose=0)
        saving.save_model(model, args.model)
    model = saving.load_model(args.model)
    x, y = data.test.take(args.examples).arrays()

    calls = [0]
    run_compiled = backend.run_compiled

    def counted(*args, **settings):
        calls[0] += 1
        return run_compiled(*args, **settings)

    backend.run_compiled = counted
    compilations = counter(keras.backend.backend(), backend, model)
    print(
        f"AutoAttack, {len(y)} images, eps {args.eps:g}, "
        f"{keras.backend.backend()} on {', '.join(backend.accelerators()) or 'CPU'}\n\n"
        "| run | calls | compilations | s | CPU s | robust, % |\n" + "|---" * 6 + "|"
    )
    settings = {
        name: getattr(args, name)
        for name in ("steps", "queries")
        if getattr(args, name)
    }
    attacks = [
        dataclasses.replace(
            attack, **{k: v for k, v in settings.items() if hasattr(attack, k)}
        )
        for attack in AutoAttack(eps=args.eps).attacks
    ]
    classifier = Classifier(model)
    for run in range(args.repeats):
        calls[0], before = 0, compilations()
        start = time.perf_counter(), time.process_time()
        left = np.flatnonzero(classifier.right(x, y))
        for attack in attacks:
            moved = attack.run(classifier, x[left], y[left], 0, stop_early=True)
            left = left[classifier.right(np.asarray(moved), y[left])]
        seconds = time.perf_counter() - start[0]
        cpu = time.process_time() - start[1]
        print(
            f"| {run + 1} | {calls[0]} | {compilations() - before} | {seconds:.1f} "
            f"| {cpu:.1f} | {100 * len(left) / len(y):.2f} |",
            flush=True,
        )


def counter(name, backend, model):
    """Returns a function that says how many programs were compiled up to now."""
    if name != "jax":
        return lambda: backend.trace_count(model)

    import jax

    seen = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: len(seen)


if __name__ == "__main__":
    main()

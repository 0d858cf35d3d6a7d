"""Trains in a folder, and is killed in the second epoch: see test_trainer.py.

python killed.py FOLDER
"""

import contextlib
import itertools
import os
import signal
import sys

import tiny

from keras_gce.recipes import networks, trainer


@contextlib.contextmanager
def bar(text, total, show, done):
    batches = itertools.count(1)

    def advance(count, text):
        if next(batches) == 3 + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    yield advance


networks.MODELS["small_cnn"] = tiny.dense
trainer.bar = bar
trainer.train(tiny.adversarial(), tiny.data(), checkpoint=sys.argv[1])

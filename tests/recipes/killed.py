"""Trains in a folder, and is killed in the nth stretch: see test_trainer.py.

python killed.py FOLDER N
"""

import contextlib
import itertools
import os
import signal
import sys

import tiny

from keras_gce.recipes import epochs, networks, trainer


@contextlib.contextmanager
def bar(text, total, show, done):
    stretches = itertools.count(1)

    def advance(amount, description, counted):
        if next(stretches) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    yield advance


networks.MODELS["small_cnn"] = tiny.dense
trainer.bar = bar
trainer.LOSS = epochs.STRETCH = 0.0
trainer.train(tiny.adversarial(), tiny.data(), checkpoint=sys.argv[1])

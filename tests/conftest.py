"""What several test files share: data and models, made once."""

import dataclasses
import os
import pathlib
import resource

# Read when TensorFlow is imported; on some CPUs the tests take thrice as long without.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import pytest

from keras_gce import datasets, losses, models
from keras_gce.attacks import FGSM, PGD, RandomNoise
from keras_gce.evaluation import accuracy_curves, evaluate

if keras.backend.backend() == "tensorflow":
    import tensorflow

    # A sixth of the tests' time went to optimising graphs that run a few times. The
    # examples, the docs' commands and all processes that tests start have it on.
    tensorflow.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )

# In a parallel run they would otherwise run alone at the end.
LONGEST = (
    "test_python.py",
    "test_commands.py",
    "test_keras_tuner.py",
    "test_backends.py",
    "test_trainer.py",
    "test_classes.py",
)

NAMES = ["zero", "one", "two", "three", "<b>four</b>", "5", "6", "7", "8", "9"]

# Of networks that are trained first, and of what is made of them.
TRAINED = {"gce_model", "report"}

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)  # Before pytest leaves out what -m says.
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if TRAINED & set(item.fixturenames):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def tf():
    """TensorFlow, for what is about it; elsewhere the test is skipped."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("about TensorFlow")
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def tfds_dir():
    """The TFDS folder with real MNIST, where there is one."""
    folder = os.environ.get("TFDS_DATA_DIR", SHARED / "tfds")
    if not (pathlib.Path(folder) / "mnist").is_dir():
        pytest.skip("no prepared MNIST in TFDS_DATA_DIR or ../shared/data/tfds")
    return str(folder)


@pytest.fixture
def full():
    """A function that leaves no room in any file for more than so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="session")
def xe_model(digits):
    return _trained(digits, keras.losses.SparseCategoricalCrossentropy(True))


@pytest.fixture(scope="session")
def gce_model(digits):
    return _trained(digits, losses.GuidedComplementEntropy(from_logits=True))


@pytest.fixture(scope="session")
def report(gce_model, digits):
    """A report with all that one can hold, for its views."""
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, steps=5), RandomNoise(eps=0.1, samples=2)]
    made = evaluate(
        gce_model, digits.test.take(100), attacks, progress=False, diagnostics=False
    )
    data = digits.test.take(40)
    curves = accuracy_curves(gce_model, data, [0.05, 0.1, 0.2], progress=False)
    return dataclasses.replace(made, curves=curves, class_names=NAMES)


def _trained(dataset, loss):
    keras.utils.set_random_seed(0)
    model = models.SmallCNN()
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(*dataset.train.arrays(), batch_size=32, epochs=12, verbose=0)
    return model

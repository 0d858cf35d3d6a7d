"""The pages and code blocks of README, CONTRIBUTING and docs/, for their tests."""

import dataclasses
import pathlib
import re
import shlex

import keras
import pytest

from keras_gce import models
from keras_gce.recipes import networks

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text() for page in sorted(PAGES)}
_WHOLE = keras.applications.MobileNetV3Small
TENSORFLOW = keras.backend.backend() == "tensorflow"


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    """The fenced blocks of a page, in order."""
    fences = re.finditer(r"(?ms)^( *)(`{3,}|~{3,})([^\n]*)\n(.*?)^\1\2 *$", PAGES[page])
    return [
        Block(page, PAGES[page][: m.start()].count("\n") + 1, m[3].strip(), m[4])
        for m in fences
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [
    (block, command)
    for block in BLOCKS
    if block.language == "sh"
    for command in block.text.replace("\\\n", " ").splitlines()
    if command.strip() and not command.startswith("#")
]


def program(block):
    """The file that a block is of, which its first line names; none of most blocks."""
    named = re.match(r"# (\w+\.py)\n", block.text)
    return named[1] if named and block.language == "python" else None


PROGRAMS = {program(block) for block in BLOCKS} - {None}


def parsed(command):
    """The environment's variables, as a dict, and the words of a command line."""
    words = shlex.split(command, comments=True)
    variables = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


def kind(words):
    if words[0] == "keras-gce":
        return "keras-gce"
    if words[0] == "python" and words[1] in PROGRAMS:
        return "program"
    if words[0] == "python" and re.match(r"(benchmarks|examples)/", words[1]):
        return "script"
    return "export" if words[0] == "export" else "elsewhere"


@pytest.fixture(scope="module")
def smallest_network():
    """The networks that this takes the place of are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SmallCNN", dense)
        patch.setitem(networks.MODELS, "small_cnn", dense)
        patch.setattr(keras.applications, "MobileNetV3Small", beginning)
        yield


def dense(num_classes=10, input_shape=(28, 28, 1), dtype=None):
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Flatten(dtype=dtype)(inputs)
    x = layers.Dense(16, activation="relu", dtype=dtype, name="features")(x)
    outputs = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="small_cnn")


def beginning(input_shape, pooling, **settings):
    """Keras's network up to its first activation: it compiles in seconds."""
    whole = _WHOLE(input_shape=input_shape, **settings)
    x = keras.layers.GlobalAveragePooling2D()(whole.get_layer("activation").output)
    return keras.Model(whole.input, x)

"""A zoo of models on the digits: some whose robustness is fake, some that hold.

Most fakes are a twin, trained in the plain way, behind a mechanism that hides its
gradient from attacks and changes its answers little: the twin's adversarial examples
say how little it holds.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from keras_gce import models
from keras_gce.attacks import PGD
from keras_gce.losses import GuidedComplementEntropy
from keras_gce.training import AdversarialModel, ComplementObjectiveModel

SHAPE, SIZE, CLASSES = (28, 28, 1), 784, 10
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ATHALYE = "Athalye et al. 2018 (arXiv 1802.00420)"
CARLINI = "Carlini et al. 2019 (arXiv 1902.06705)"
TRAMER = "Tramer et al. 2020 (arXiv 2002.08347)"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Args:
        build: A function (twin, dataset) -> a compiled model.
        source: Where the mechanism is described.
        holds: Whether its robustness is what it seems.
        late: Whether it was thought up after the signs' thresholds had been fixed.
    """

    build: Callable
    source: str
    holds: bool = False
    late: bool = False

    @property
    def name(self):
        return self.build.__name__.strip("_")

    @property
    def mechanism(self):
        return self.build.__doc__.splitlines()[0].rstrip(".")


ZOO = []


def entry(source, holds=False, late=False):
    def added(build):
        ZOO.append(Entry(build, source, holds, late))
        return build

    return added


def fitted(model, dataset, epochs=12, loss=CROSSENTROPY, images=None):
    x, y = dataset.train.arrays()
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x if images is None else images(x), y, 32, epochs, verbose=0)
    return model


def twin_of(dataset, seed=0):
    """The undefended twin of the fakes."""
    keras.utils.set_random_seed(seed)
    return fitted(models.SmallCNN(), dataset)


def source_for(twin, model):
    """The twin with as many classes as a model, to attack the model by."""
    more = model.output_shape[-1] - CLASSES
    if not more:
        return twin
    rest = layers.Lambda(lambda z: ops.pad(z, ((0, 0), (0, more)), constant_values=-99))
    return keras.Sequential([twin, rest])


class Function(layers.Layer):
    """A function of one tensor, or of a list of them, as a layer."""

    def __init__(self, fn, **options):
        super().__init__(**options)
        self.fn = fn

    def call(self, inputs):
        return self.fn(inputs)

    def compute_output_shape(self, shape):
        return shape[1] if isinstance(shape, list) else shape


def before(twin, fn):
    """The twin behind a function of its images."""
    inputs = keras.Input(SHAPE)
    return compiled(keras.Model(inputs, twin(Function(fn)(inputs))))


def after(twin, fn):
    """A function of the twin's logits."""
    inputs = keras.Input(SHAPE)
    return compiled(keras.Model(inputs, Function(fn)(twin(inputs))))


def with_images(twin, fn):
    """A function of (images, the twin's logits)."""
    inputs = keras.Input(SHAPE)
    both = [inputs, twin(inputs)]
    return compiled(keras.Model(inputs, Function(lambda pair: fn(*pair))(both)))


def named(model, name):
    """The model by another name, for one that has several."""
    return keras.Model(model.inputs, model.outputs[0], name=name)


def compiled(model, loss=CROSSENTROPY):
    model.compile(loss=loss)
    return model


def flat(x):
    return ops.reshape(x, (-1, SIZE))


def pattern(seed=0, shape=(SIZE, CLASSES)):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def bounded(z):
    """Logits around the middle of their two greatest, as a plateau needs them."""
    return z - ops.mean(ops.top_k(z, 2)[0], -1, keepdims=True)


# Gradients that are shattered


@entry("Guo et al. 2018 (arXiv 1711.00117); " + ATHALYE)
def rounding(twin, dataset):
    """Pixels are rounded to 5 levels."""
    return before(twin, lambda x: ops.round(4 * x) / 4)


@entry("Guo et al. 2018 (arXiv 1711.00117); " + ATHALYE)
def jpeg_blocks(twin, dataset):
    """Blocks of 4 x 4 pixels are rounded in their cosine transform, as JPEG does."""
    k = np.arange(4)
    cosine = np.cos(np.pi * (2 * k + 1) * k[:, None] / 8) / np.sqrt(2)
    cosine[0] /= np.sqrt(2)
    cosine = cosine.astype("float32")

    def coded(x):
        blocks = ops.reshape(x, (-1, 7, 4, 7, 4))
        waves = ops.einsum("ui,naibj,vj->naubv", cosine, blocks, cosine)
        waves = ops.round(waves / 0.5) * 0.5
        return ops.reshape(
            ops.einsum("ui,naubv,vj->naibj", cosine, waves, cosine), (-1, *SHAPE)
        )

    return before(twin, coded)


@entry("Xiao et al. 2020 (arXiv 1905.10510); " + TRAMER)
def k_winners_take_all(twin, dataset):
    """A network whose activations keep a fifth of their values, trained so."""

    def winners(x):
        shape = x.shape[1:]
        values = ops.reshape(x, (-1, int(np.prod(shape))))
        least = ops.top_k(values, max(values.shape[-1] // 5, 1))[0][:, -1:]
        kept = ops.where(values >= least, values, 0.0)
        return ops.reshape(kept, (-1, *shape))

    inputs = keras.Input(SHAPE)
    x = Function(winners)(layers.Conv2D(16, 5, 2, "same")(inputs))
    x = Function(winners)(layers.Conv2D(32, 3, 2, "same")(x))
    x = Function(winners)(layers.Dense(64)(layers.Flatten()(x)))
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    return fitted(model, dataset)


@entry(TRAMER)
def steep_sigmoid(twin, dataset):
    """Pixels pass a sigmoid so steep that it is a threshold."""
    return before(twin, lambda x: ops.sigmoid(400 * (x - 0.5)))


@entry(ATHALYE)
def stop_gradient(twin, dataset):
    """The gradient of the images is stopped."""
    return before(twin, ops.stop_gradient)


@entry(TRAMER)
def stop_gradient_decoy(twin, dataset):
    """The gradient is stopped, and a small linear term has one that leads astray."""
    return with_images(
        before(twin, ops.stop_gradient),
        lambda x, z: z + 0.01 * ops.matmul(flat(x), pattern()),
    )


@entry(CARLINI)
def wrong_size(twin, dataset):
    """The gradient is right in sign and wrong in size, by up to 1e6 a pixel."""
    sizes = (10.0 ** np.random.default_rng(0).uniform(-6, 6, SHAPE)).astype("float32")
    return before(twin, lambda x: sizes * x + ops.stop_gradient(x - sizes * x))


@entry("torch and JAX users on where(); " + ATHALYE)
def nan_gradient_at_black(twin, dataset):
    """The sRGB curve, whose gradient is NaN at black pixels."""

    def encoded(x):
        curve = 1.055 * x ** (1 / 2.4) - 0.055
        return ops.where(x > 0.0031308, curve, 12.92 * x)

    inputs = keras.Input(SHAPE)
    core = models.SmallCNN()
    safe = keras.Model(
        inputs, core(Function(lambda x: encoded(ops.maximum(x, 0.0031309)))(inputs))
    )
    fitted(safe, dataset)
    return compiled(keras.Model(inputs, core(Function(encoded)(inputs))))


@entry(ATHALYE)
def nan_gradient_at_a_few(twin, dataset):
    """The gradient is NaN at 5 pixels."""
    mask = np.zeros(SHAPE, bool)
    mask.reshape(-1)[[100, 250, 406, 500, 700]] = True

    def lost(x):
        return x + 0.0 * (0.0 * ops.where(mask, x, 1.0)) ** 0.4

    return before(twin, lost)


@entry(ATHALYE)
def nan_gradient_everywhere(twin, dataset):
    """The gradient is NaN at all pixels."""
    return before(twin, lambda x: x + 0.0 * (0.0 * x) ** 0.4)


# Gradients that vanish or explode


@entry("Papernot et al. 2016 (arXiv 1511.04508); Carlini and Wagner 2017")
def temperature(twin, dataset):
    """Logits are a thousand times as great."""
    return after(twin, lambda z: 1000 * z)


@entry("AutoAttack's checks (arXiv 2003.01690)")
def float16_overflow(twin, dataset):
    """Logits overflow in half precision."""

    def half(z):
        return ops.cast(ops.cast(z, "float16") * np.float16(6000), "float32")

    return after(twin, half)


@entry(ATHALYE)
def clipped_log_softmax(twin, dataset):
    """Logits are the logarithm of probabilities clipped at 1e-3."""

    def clipped(z):
        return ops.log(ops.clip(ops.softmax(4 * z), 1e-3, 1 - 1e-3))

    return after(twin, clipped)


@entry(TRAMER)
def tanh_plateau(twin, dataset):
    """Logits lie on two plateaus of a tanh."""
    return after(twin, lambda z: 5 * ops.tanh(100 * bounded(z)))


def _plateau(twin, slope, height=5.0, steep=100.0):
    return with_images(
        twin,
        lambda x, z: (
            height * ops.tanh(steep * bounded(z))
            + slope * ops.matmul(flat(x), pattern())
        ),
    )


@entry(TRAMER)
def plateau_decoy_low(twin, dataset):
    """A plateau, and a linear decoy of slope 0.001."""
    return _plateau(twin, 0.001)


@entry(TRAMER)
def plateau_decoy(twin, dataset):
    """A plateau, and a linear decoy of slope 0.01."""
    return _plateau(twin, 0.01)


@entry(TRAMER)
def plateau_decoy_steep(twin, dataset):
    """A plateau, and a linear decoy of slope 0.05."""
    return _plateau(twin, 0.05)


@entry(TRAMER)
def plateau_decoy_soft(twin, dataset):
    """A plateau that rises within a few logits, and a linear decoy of slope 0.02."""
    return _plateau(twin, 0.02, steep=3.0)


# Numbers that are none


@entry("AutoAttack's checks (arXiv 2003.01690)")
def nan_on_the_data(twin, dataset):
    """Logits are NaN where the first pixel is black, as it is on most images."""

    def lost(x, z):
        return z + 0.0 * ops.log(flat(x)[:, :1])

    return with_images(twin, lost)


@entry("AutoAttack's checks (arXiv 2003.01690)")
def nan_off_the_data(twin, dataset):
    """Logits are NaN where an empty corner is no longer black."""

    def lost(x, z):
        return z + 0.0 * ops.log(0.02 - flat(x)[:, :1])

    return with_images(twin, lost)


@entry("AutoAttack's checks (arXiv 2003.01690)")
def infinite_on_the_data(twin, dataset):
    """Logits are exponentials, which overflow."""
    return after(twin, lambda z: ops.exp(8 * z))


@entry("AutoAttack's checks (arXiv 2003.01690)")
def infinite_off_the_data(twin, dataset):
    """Logits overflow where an empty corner is no longer black."""

    def lost(x, z):
        return z + z * ops.exp(1e4 * (flat(x)[:, :1] - 0.02))

    return with_images(twin, lost)


# Random numbers


class Noise(layers.Layer):
    """Normal noise in inference too."""

    def __init__(self, size):
        super().__init__()
        self.size, self.seeds = size, keras.random.SeedGenerator(0)

    def call(self, x):
        return x + self.size * keras.random.normal(ops.shape(x), seed=self.seeds)


class Shift(layers.Layer):
    """Images are moved by up to two pixels, at random."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x):
        dx, dy = (keras.random.randint((), 0, 5, seed=self.seeds) for _ in range(2))
        x = ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        x = ops.take(x, dx + ops.arange(28), axis=1)
        return ops.take(x, dy + ops.arange(28), axis=2)

    def compute_output_shape(self, shape):
        return shape


def _with_layer(twin, layer):
    inputs = keras.Input(SHAPE)
    return compiled(keras.Model(inputs, twin(layer(inputs))))


@entry(ATHALYE)
def noise(twin, dataset):
    """Normal noise of 0.2 is added in inference."""
    return _with_layer(twin, Noise(0.2))


@entry("Xie et al. 2018 (arXiv 1711.01991); " + ATHALYE)
def random_shifts(twin, dataset):
    """Images are moved by up to two pixels in inference."""
    return _with_layer(twin, Shift())


@entry(TRAMER)
def hashed_noise(twin, dataset):
    """Noise that a hash of the image decides."""
    keys = 1e3 / 28 * pattern(1, (SIZE, SIZE))

    def noisy(x):
        hashed = ops.sin(1e3 * ops.sin(ops.matmul(flat(x), keys)))
        return x + 0.25 * ops.reshape(hashed, (-1, *SHAPE))

    return before(twin, noisy)


# Another class


@entry("Tramer 2022 (arXiv 2107.11630)")
def reject_class(twin, dataset):
    """One more class, for what the twin is not sure of."""

    def rejecting(z):
        lead = bounded(z)
        sure = ops.max(lead, -1, keepdims=True)
        return ops.concatenate(
            [z, z[:, :1] * 0 + ops.max(z, -1, keepdims=True) + 2 * (1.5 - sure)], -1
        )

    inputs = keras.Input(SHAPE)
    return compiled(keras.Model(inputs, rejecting(twin(inputs))))


# Losses that leave little gradient


@entry("Chen et al. 2019 (arXiv 1903.09799)")
def guided_complement_entropy(twin, dataset):
    """Trained with guided complement entropy."""
    loss = GuidedComplementEntropy(from_logits=True)
    return fitted(models.SmallCNN(), dataset, 20, loss)


@entry("Chen et al. 2019 (arXiv 1903.01182)")
def complement_objective(twin, dataset):
    """Trained with the complement objective."""
    wrapped = ComplementObjectiveModel(models.SmallCNN())
    x, y = dataset.train.arrays()
    wrapped.compile(keras.optimizers.Adam(3e-3), CROSSENTROPY)
    wrapped.fit(x, y, 32, 12, verbose=0)
    return compiled(wrapped.model)


@entry("Szegedy et al. 2016 (arXiv 1512.00567); Goibert and Dohmatob 2019")
def label_smoothing(twin, dataset):
    """Trained with labels smoothed by 0.3."""
    smooth = keras.losses.CategoricalCrossentropy(True, label_smoothing=0.3)
    model = models.SmallCNN()
    x, y = dataset.train.arrays()
    model.compile(keras.optimizers.Adam(3e-3), smooth)
    model.fit(x, np.eye(CLASSES)[y], 32, 12, verbose=0)
    return compiled(model)


# What holds


def _hardened(dataset, loss):
    model = models.SmallCNN()
    wrapped = AdversarialModel(model, PGD(eps=0.1, steps=7, seed=0), warmup_steps=200)
    x, y = dataset.train.arrays()
    wrapped.compile(keras.optimizers.Adam(3e-3), loss)
    wrapped.fit(x, y, batch_size=32, epochs=20, verbose=0)
    return compiled(model, loss)


@entry("Madry et al. 2018 (arXiv 1706.06083)", holds=True)
def adversarially_trained(twin, dataset):
    """Trained on PGD's examples at eps 0.1, cross-entropy outside."""
    return _hardened(dataset, CROSSENTROPY)


@entry("Madry et al. 2018; Chen et al. 2019 (arXiv 1903.09799)", holds=True)
def adversarially_trained_gce(twin, dataset):
    """Trained on PGD's examples at eps 0.1, guided complement entropy outside."""
    return _hardened(dataset, GuidedComplementEntropy(from_logits=True))


@entry("-", holds=True)
def linear(twin, dataset):
    """A linear model."""
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)]
    )
    return fitted(model, dataset)


@entry("-", holds=True)
def plain(twin, dataset):
    """The twin itself."""
    return compiled(twin)


@entry("-", holds=True)
def constant(twin, dataset):
    """A model that answers the same for every image."""
    return after(twin, lambda z: 0 * z + 2 * np.eye(CLASSES, dtype="float32")[3])


@entry("Cohen et al. 2019 (arXiv 1902.02918)", holds=True)
def smoothing_base(twin, dataset):
    """The base of randomised smoothing: trained on images with noise of 0.25."""
    rng = np.random.default_rng(0)

    def noisy(x):
        return x + 0.25 * rng.standard_normal(x.shape).astype("float32")

    return fitted(models.SmallCNN(), dataset, images=noisy)


# Thought up after the thresholds had been fixed


@entry(ATHALYE, late=True)
def gradient_of_another(twin, dataset):
    """The answers are the twin's, the gradient that of an untrained network."""
    other = named(models.SmallCNN(), "other")
    inputs = keras.Input(SHAPE)
    z, astray = Function(ops.stop_gradient)(twin(inputs)), other(inputs)
    z = Function(lambda pair: pair[0] + pair[1] - ops.stop_gradient(pair[1]))(
        [z, astray]
    )
    return compiled(keras.Model(inputs, z))


@entry(TRAMER, late=True)
def sine_waves(twin, dataset):
    """Pixels carry a sine of many periods, whose slope outweighs theirs."""
    return before(twin, lambda x: x + 0.02 * ops.sin(500 * x))


@entry(TRAMER, late=True)
def staircase_decoy(twin, dataset):
    """Logits are rounded to steps of 4, and a linear decoy of slope 0.02."""
    return with_images(
        twin,
        lambda x, z: 4 * ops.round(z / 4) + 0.02 * ops.matmul(flat(x), pattern()),
    )


@entry(TRAMER, late=True)
def rounding_decoy(twin, dataset):
    """Pixels are rounded to 5 levels, and a linear decoy of slope 0.02."""
    rounded = before(twin, lambda x: ops.round(4 * x) / 4)
    return with_images(rounded, lambda x, z: z + 0.02 * ops.matmul(flat(x), pattern()))


@entry("Buckman et al. 2018 (ICLR); " + ATHALYE, late=True)
def thermometer(twin, dataset):
    """A network trained on pixels as eight comparisons with thresholds."""
    levels = np.arange(0.5, 8).astype("float32") / 8
    inputs = keras.Input(SHAPE)
    code = ops.cast(ops.greater(inputs, levels), "float32")
    x = layers.Conv2D(16, 5, 2, "same", activation="relu")(code)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))
    return fitted(model, dataset)


@entry(CARLINI, late=True)
def tiny_logits(twin, dataset):
    """Logits are of length 1e-6."""
    return after(twin, lambda z: 1e-6 * z / ops.norm(z, axis=-1, keepdims=True))


class Member(layers.Layer):
    """The logits of one of several, chosen at random at each call."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, parts):
        chosen = keras.random.randint((), 0, len(parts), seed=self.seeds)
        return ops.take(ops.stack(parts), chosen, axis=0)

    def compute_output_shape(self, shapes):
        return shapes[0]


@entry(ATHALYE, late=True)
def random_member(twin, dataset):
    """One of three networks answers, chosen at random."""
    inputs = keras.Input(SHAPE)
    parts = [twin]
    for name in ("second", "third"):
        parts.append(named(fitted(models.SmallCNN(), dataset), name))
    return compiled(keras.Model(inputs, Member()([part(inputs) for part in parts])))


@entry("Xu et al. 2018 (arXiv 1704.01155)", late=True)
def median_blur(twin, dataset):
    """A median of 3 x 3 pixels, without its gradient."""

    def blurred(x):
        padded = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        parts = [padded[:, i : i + 28, j : j + 28] for i in range(3) for j in range(3)]
        return ops.stop_gradient(ops.sort(ops.stack(parts, -1), -1)[..., 4])

    return fitted(before(models.SmallCNN(), blurred), dataset)


@entry(TRAMER, late=True)
def nearest_neighbour(twin, dataset):
    """The class of the nearest of 400 training images, and a linear decoy."""
    x, y = (part[:400] for part in dataset.train.arrays())
    known, classes = x.reshape(400, SIZE), np.eye(CLASSES, dtype="float32")[y]

    def answer(v):
        distance = (known**2).sum(-1) - 2 * ops.matmul(flat(v), known.T)
        best = ops.one_hot(ops.argmin(distance, -1), 400)
        return 5 * ops.matmul(best, classes) + 0.01 * ops.matmul(flat(v), pattern())

    inputs = keras.Input(SHAPE)
    function = Function(answer)
    function.compute_output_shape = lambda shape: (shape[0], CLASSES)
    return compiled(keras.Model(inputs, function(inputs)))


@entry(TRAMER, late=True)
def plateau_of_many_heights(twin, dataset):
    """A plateau whose height is another on each image, and a linear decoy."""

    def high(x, z):
        height = 4 + 3 * ops.sin(ops.matmul(flat(x), pattern(2, (SIZE, 1))) / 5)
        decoy = 0.01 * ops.matmul(flat(x), pattern())
        return height * ops.tanh(100 * bounded(z)) + decoy

    return with_images(twin, high)

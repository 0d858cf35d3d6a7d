import subprocess
import sys

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_gce import attacks, evaluate, evaluation, losses, models, plotting
from keras_gce.errors import InputError


@pytest.fixture(scope="module")
def report(gce_model, digits):
    pgd = attacks.PGD(eps=0.1, steps=5, seed=0)
    found = evaluate(gce_model, digits.test.take(80), [pgd], progress=False)
    found.curves[:] = evaluation.accuracy_curves(
        gce_model, digits.test.take(80), [0.05, 0.1], attack=pgd, progress=False
    )
    return found


def texts(figure):
    """All that is written in a figure, once it is drawn."""
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(match=is_text))


def is_text(artist):
    return hasattr(artist, "get_text") and artist.get_visible()


def looks(ax):
    """The line's dash and marker, without its colour."""
    return [(line.get_linestyle(), line.get_marker()) for line in ax.get_lines()]


def test_the_simplex_of_complement_entropy_is_least_along_a_line():
    loss = losses.ComplementEntropy(normalize=True)
    points, values = plotting.simplex_values(loss, resolution=40)
    np.testing.assert_allclose(points.sum(axis=1), 1)
    q = points[:, 1:] / np.maximum(points[:, 1:].sum(axis=1, keepdims=True), 1e-12)
    # -H(q) / log 2 by its definition; at p0 = 1 there is no q, and the limit is -1.
    entropy = -(q * np.log(np.maximum(q, 1e-300))).sum(axis=1) / np.log(2)
    np.testing.assert_allclose(
        values, np.where(points[:, 0] < 1, -entropy, -1), atol=1e-5
    )
    figure = plotting.loss_simplex(loss, resolution=40)
    (minimum,) = [x for x in figure.axes[0].get_lines() if "minimum" in x.get_label()]
    x, y = minimum.get_data()
    np.testing.assert_allclose(x, 0.5)
    assert len(x) == 13 and y.min() == 0 and y.max() == pytest.approx(0.75**0.5)
    assert "all along" in texts(figure)


def test_the_simplex_of_gce_is_least_where_the_true_class_is_sure():
    figure = plotting.loss_simplex(losses.guided_complement_entropy, title="GCE")
    ax, bar = figure.axes
    minimum = ax.get_lines()[-1]
    assert minimum.get_marker() == "*"
    np.testing.assert_allclose(minimum.get_xydata(), [(0.5, 0.75**0.5)])
    # The region of correct predictions: a third of the triangle.
    region = ax.get_lines()[0].get_xydata()
    (x, y), (next_x, next_y) = region[:-1].T, region[1:].T
    area = abs((x * next_y - y * next_x).sum()) / 2
    assert area == pytest.approx(0.75**0.5 / 2 / 3)
    for text in ("GCE", "true class", "correct prediction", "loss (no unit)"):
        assert text in texts(figure)
    into = Figure().subplots()
    limits = (-2, 0)
    same = plotting.loss_simplex(
        losses.ComplementEntropy(), into, limits=limits, key=False
    )
    assert same is into.figure and len(same.axes) == 1
    assert into.collections[0].get_clim() == limits


def test_the_simplex_refuses():
    for loss, received in (
        (losses.GuidedComplementEntropy(from_logits=True), "from_logits=True"),
        (lambda y_true, y_pred: 0.0, r"shape \(\)"),
        (lambda y_true, y_pred: np.log(y_pred[:, 0]), "which returned"),
    ):
        with np.errstate(divide="ignore"), pytest.raises(InputError, match=received):
            plotting.loss_simplex(loss)
    with pytest.raises(InputError, match="resolution=1"):
        plotting.simplex_values(losses.complement_entropy, resolution=1)


def test_several_simplexes_share_one_scale():
    maps = {
        "complement entropy": losses.ComplementEntropy(normalize=True),
        "GCE": losses.GuidedComplementEntropy(),
    }
    figure = plotting.loss_simplexes(maps, title="normalised")
    drawn = [ax for ax in figure.axes if ax.get_title() in maps]
    assert [ax.collections[0].get_clim() for ax in drawn] == [(-1, 0)] * 2
    written = texts(figure)
    for text in (*maps, "normalised", "one point", "all along", "loss (no unit)"):
        assert text in written
    with pytest.raises(InputError, match="Received: none"):
        plotting.loss_simplexes({})


def test_the_profile_is_the_guiding_factor():
    figure = plotting.loss_profile()
    (ax,) = figure.axes
    lines = ax.get_lines()
    for line, alpha in zip(lines, (0, 1 / 10, 1 / 3, 1 / 2, 1), strict=True):
        p, loss = line.get_data()
        np.testing.assert_allclose(loss, -(p**alpha), atol=1e-5)
    assert len(set(looks(ax))) == 5
    for text in ("alpha 0 (no guiding", "alpha 1/10", "10 classes", "(no unit"):
        assert text in texts(figure)
    with pytest.raises(InputError, match="num_classes=2"):
        plotting.loss_profile(num_classes=2)
    with pytest.raises(ValueError, match="alpha=-1"):
        plotting.loss_profile([-1])


def test_features_of_any_model(digits, gce_model):
    images, _ = digits.test.take(7).arrays()
    found = plotting.penultimate_features(gce_model, images, batch_size=3)
    logits = found @ gce_model.layers[-1].kernel + gce_model.layers[-1].bias
    np.testing.assert_allclose(logits, gce_model.predict(images, verbose=0), atol=1e-4)
    other = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
            keras.layers.Softmax(),
        ]
    )
    assert plotting.penultimate_features(other, images).shape == (7, 2 * 26 * 26)

    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.Sequential(), "model"):
        with pytest.raises(InputError, match="Received: model="):
            plotting.penultimate_features(model, images)


def test_tsne_keeps_to_its_seed_and_finds_clusters():
    centres = np.repeat(np.eye(3) * 30, 20, axis=0)
    points = centres + np.random.default_rng(0).normal(size=(60, 3))
    labels = np.repeat(np.arange(3), 20)
    plane = plotting.tsne(points)
    np.testing.assert_array_equal(plane, plotting.tsne(points))
    assert plane.shape == (60, 2)
    assert plotting.silhouette_values(plane, labels).mean() > 0.7
    for features in (points[:3], points[:, :1], points * np.nan):
        with pytest.raises(InputError, match="features of shape"):
            plotting.tsne(features)
    with pytest.raises(InputError, match="perplexity=0"):
        plotting.tsne(points, perplexity=0)


def test_silhouettes_by_hand():
    points, labels = [[0.0], [1.0], [4.0], [6.0]], [0, 0, 1, 1]
    values = plotting.silhouette_values(points, labels)
    # (b - a) / max(a, b), with a the distance to the twin, b the mean to the others.
    np.testing.assert_allclose(values, [4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5], rtol=1e-6)
    for wrong in ([0, 0, 0, 0], [0, 1, 2, 3], [0, 1]):
        with pytest.raises(InputError, match="Received: labels"):
            plotting.silhouette_values(points, wrong)


@pytest.mark.parametrize("module", ["matplotlib.figure", "sklearn.manifold"])
def test_a_missing_package_is_named(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "keras_gce\[plot\]"'):
        plotting.embedding(plotting.tsne(np.eye(6)), np.arange(6))


def test_embedding_tells_classes_apart_without_colour():
    points = np.random.default_rng(0).normal(size=(200, 2))
    labels = np.arange(200) % 10
    figure = plotting.embedding(points, labels, list("abcdefghij"), title="digits")
    (ax,) = figure.axes
    assert len(ax.collections) == 10
    markers = {c.get_paths()[0].vertices.tobytes() for c in ax.collections}
    assert len(markers) == 10
    for text in (*"abcdefghij", "digits", "t-SNE 1 (no unit)"):
        assert text in texts(figure)
    # Of twelve classes, the two smallest are left out, and it is said.
    labels = np.concatenate([labels, [10, 11]])
    points = np.concatenate([points, [(0, 0), (1, 1)]])
    figure = plotting.embedding(points, labels)
    assert len(figure.axes[0].collections) == 10
    assert "10 most frequent of 12 classes" in texts(figure)
    into = Figure().subplots()
    assert plotting.embedding(points, labels, ax=into) is into.figure
    with pytest.raises(InputError, match=r"\(201, 2\)"):
        plotting.embedding(points[1:], labels)


def test_silhouettes_show_each_class_and_all():
    labels = np.array([0, 0, 1, 1, 1])
    values = {
        "XE": np.array([0.1, 0.3, 0.0, 0.6, 0.3]),
        "GCE": np.array([-0.5, -0.5, 0.5, 0.5, 0.5]),
    }
    figure = plotting.silhouettes(values, labels, ["cat", "dog"])
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [0.26, 0.2, 0.3])
    np.testing.assert_allclose(ax.get_lines()[1].get_xdata(), [0.1, -0.5, 0.5])
    for text in ("XE: mean 0.26", "GCE: mean 0.10", "cat", "all", "silhouette"):
        assert text in texts(figure)
    assert "all 12 classes" in texts(
        plotting.silhouettes({"a": np.zeros(12)}, np.arange(12))
    )
    with pytest.raises(InputError, match=r"'XE' of shape \(5,\)"):
        plotting.silhouettes(values, labels[:4])


def test_embeddings_stand_above_their_silhouettes():
    labels = np.arange(30) % 3
    planes = {name: np.random.default_rng(0).normal(size=(30, 2)) for name in "ab"}
    values = {"a": np.full(30, 0.2), "b": np.full(30, -0.4)}
    captions = {"a": "99% right", "b": "98% right"}
    figure = plotting.embeddings(
        planes, values, labels, captions=captions, title="digits"
    )
    assert [len(ax.collections) for ax in figure.axes] == [3, 3, 0]
    assert figure.axes[0].get_title() == "a\n99% right"
    for text in ("digits", "a: mean 0.20", "b: mean -0.40"):
        assert text in texts(figure)
    with pytest.raises(InputError, match=r"\['a', 'b'\] and \['a'\]"):
        plotting.embeddings(planes, {"a": values["a"]}, labels)


def test_accuracy_against_eps(report):
    figure = plotting.accuracy_curves(report, dataset="digits")
    (ax,) = figure.axes
    assert len(ax.containers) == 3
    line = ax.containers[-1].lines[0]
    curve = report.curves[-1]
    np.testing.assert_allclose(np.array(line.get_xdata(), float), curve.eps)
    y = np.array(line.get_ydata(), float)
    np.testing.assert_allclose(y, 100 * np.array(curve.accuracy))
    bars = ax.containers[-1].lines[2][0].get_segments()
    low, high = curve.intervals()[-1]
    assert bars[-1][:, 1].tolist() == pytest.approx([100 * low, 100 * high])
    for text in ("digits", "adaptive", "linf ball (pixels", "(%)", "PGD on 80 images"):
        assert text in texts(figure)
    into = Figure().subplots()
    assert plotting.accuracy_curves(report.curves, into) is into.figure
    with pytest.raises(InputError, match="Received: none"):
        plotting.accuracy_curves([])


def test_adversarial_examples(report):
    figure = plotting.adversarial_examples(report, limit=4, dataset="digits")
    assert len(figure.axes) == 12
    example = report.gallery[0]
    shown = [figure.axes[row * 4].get_images()[0].get_array() for row in range(3)]
    np.testing.assert_array_equal(shown[0], example.clean[..., 0])
    np.testing.assert_array_equal(shown[1], example.adversarial[..., 0])
    np.testing.assert_array_equal(shown[2], example.difference[..., 0])
    titles = [figure.axes[row * 4].get_title() for row in range(2)]
    assert titles == [str(example.before), f"→ {example.after}"]
    written = texts(figure)
    for text in ("digits", "threat model adaptive", "linf", "eps 0.1", "PGD", "±0.1"):
        assert text in written
    with pytest.raises(InputError, match="limit=0"):
        plotting.adversarial_examples(report, limit=0)
    report.gallery.clear()
    with pytest.raises(InputError, match="empty gallery"):
        plotting.adversarial_examples(report)


def test_training_curves(digits):
    model = models.SmallCNN()
    model.compile(
        "adam", losses.GuidedComplementEntropy(from_logits=True), metrics=["accuracy"]
    )
    from keras_gce.callbacks import RobustAccuracy

    data = digits.validation.take(20).arrays()
    attack = [attacks.FGSM(eps=0.1), attacks.FGSM(eps=0.1, loss="margin")]
    history = model.fit(
        *data,
        epochs=3,
        verbose=0,
        validation_data=data,
        callbacks=[RobustAccuracy(data, attack, every=2)],
    )
    figure = plotting.training_curves(history, title="digits", attack=attack, every=2)
    above, below = figure.axes
    robust = above.get_lines()[2]
    assert robust.get_xdata().tolist() == [2, 3]
    assert all(tick % 1 == 0 for tick in below.get_xticks())
    assert robust.get_ydata()[1] == 100 * history.history["val_robust_accuracy"][1]
    assert len(set(looks(above))) == 3 and len(below.get_lines()) == 2
    written = texts(figure)
    assert "robust, FGSM linf eps 0.1 (crossentropy, margin)" in written
    assert "accuracy (%)" in written and "epoch" in written
    into = Figure().subplots()
    assert plotting.training_curves(history.history, into, every=2) is into.figure
    assert len(into.get_lines()) == 3
    with pytest.raises(InputError, match=r"every=1, val_robust_accuracy with 2"):
        plotting.training_curves(history)
    with pytest.raises(InputError, match="Received: loss"):
        plotting.training_curves({"loss": [1.0]})


LIGHT = """
import sys
sys.argv = ["keras-gce"]
import keras_gce.plotting
heavy = {"keras", "tensorflow", "matplotlib", "sklearn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_importing_it_loads_nothing_heavy():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_training_curves_name_an_attack_without_a_ball():
    history = {
        "accuracy": [0.5, 0.6],
        "loss": [1.0, 0.9],
        "val_robust_accuracy": [0, 1],
    }
    for attack in (attacks.JSMA(), attacks.CarliniWagnerL2()):
        figure = plotting.training_curves(history, attack=attack)
        assert f"robust, {attack.name}" in texts(figure)

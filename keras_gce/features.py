"""What the figures of a model's features draw: features, t-SNE, silhouettes.

Pictures of t-SNE persuade too easily: it draws clusters where there are none, and
distances between them mean little. The silhouette is a number that can be compared.
"""

from typing import Any

import numpy as np

from keras_gce.checks import Tensor
from keras_gce.errors import InputError

__all__ = ["penultimate_features", "silhouette_values", "tsne"]


def penultimate_features(
    model: Any, images: np.ndarray, batch_size: int = 500
) -> np.ndarray:
    """Computes what goes into the last layer of a model.

    Example:

    >>> from keras_gce import models
    >>> penultimate_features(models.SmallCNN(), np.zeros((2, 28, 28, 1))).shape
    (2, 32)

    Args:
        model: A functional or sequential `keras.Model` with one input: the output of
            its layer "features" where it has one, as this package's have, or else the
            input of its last layer that has weights. Of one that wraps another, such
            as `AdversarialModel`, the wrapped one.
        images: Array of shape `(N, ...)`, N >= 1, as the model takes them.
        batch_size: Images at once, >= 1. Defaults to 500.

    Returns:
        Array of shape `(N, D)`.

    Raises:
        InputError: If the layers of `model` can't be seen.
    """
    import keras

    from keras_gce.classifier import unwrap

    model = unwrap(model)
    try:
        (one,) = model.inputs
        inner = keras.Model(one, _features(model, keras))
    except (AttributeError, TypeError, ValueError, StopIteration) as error:
        raise InputError(
            "`model` must be a built functional or sequential keras.Model with one "
            'input, and a layer "features" or a layer with weights at its end. '
            f"Received: model={model!r}"
        ) from error
    images = np.asarray(images)
    # Not by `predict`, which would compile a new model for each call.
    parts = [
        keras.ops.convert_to_numpy(inner(images[i : i + batch_size], training=False))
        for i in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).reshape(len(images), -1)


def _features(model: Any, keras: Any) -> Tensor:
    for layer in model.layers:
        if layer.name == "features":
            return layer.output
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    if isinstance(last, keras.Model):
        raise ValueError("its last layer is a model")
    return last.input


def tsne(features: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Computes scikit-learn's t-SNE on a plane, from a start by PCA.

    Args:
        features: Array of shape `(N, D)`, N >= 4, D >= 2.
        seed: Decides what is random in it, an integer >= 0. Defaults to 0.
        perplexity: About the number of neighbours that count, > 0; at most a third of
            N - 1 is used. Defaults to 30.

    Returns:
        Array of shape `(N, 2)`, without a unit.

    Raises:
        InputError: If an argument is not as described, or scikit-learn is missing.
    """
    features = _checked_points("features", features)
    if len(features) < 4 or features.shape[1] < 2:
        raise InputError(
            "`features` must have the shape (N, D), N >= 4, D >= 2. "
            f"Received: features of shape {features.shape}"
        )
    if not perplexity > 0:
        raise InputError(f"`perplexity` must be > 0. Received: perplexity={perplexity}")
    method = _scikit_learn().manifold.TSNE(
        perplexity=min(perplexity, (len(features) - 1) / 3),
        init="pca",
        random_state=seed,
    )
    return method.fit_transform(features)


def silhouette_values(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the silhouette of each example: how far apart its class lies.

    ```
    s = (b - a) / max(a, b)
    ```

    with a the mean Euclidean distance to the others of its class, b that to the
    nearest other class: 1 far apart, 0 on the border, below 0 nearer another class.

    Example:

    >>> points = [[0, 0], [0, 1], [9, 0], [9, 1]]
    >>> [round(float(s), 2) for s in silhouette_values(points, [0, 0, 1, 1])]
    [0.89, 0.89, 0.89, 0.89]

    Args:
        points: Array of shape `(N, D)`: features, or what `tsne` returned.
        labels: Integers of shape `(N,)`: the true classes, at least two, and fewer
            than N.

    Returns:
        Array of shape `(N,)`, in [-1, 1].

    Raises:
        InputError: If an argument is not as described, or scikit-learn is missing.

    Reference:
        Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation
        of cluster analysis", 1987.
    """
    points, labels = _checked_points("points", points), np.asarray(labels)
    classes = len(np.unique(labels))
    if labels.shape != points.shape[:1] or not 2 <= classes < len(points):
        raise InputError(
            "`labels` must hold a class for each of the points, two classes at least "
            f"and fewer than points. Received: labels of shape {labels.shape} with "
            f"{classes} class(es), points of shape {points.shape}"
        )
    return _scikit_learn().metrics.silhouette_samples(points, labels)


def _checked_points(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values, "float32")
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(
            f"`{name}` must be finite numbers of shape (N, D). "
            f"Received: {name} of shape {values.shape}"
        )
    return values


def _scikit_learn() -> Any:
    """The package, with the modules that are asked for here."""
    try:
        import sklearn.manifold
        import sklearn.metrics
    except ImportError as error:
        raise InputError(
            "t-SNE and silhouettes must have scikit-learn installed: pip install "
            f'"keras_gce[plot]". Received: {error}'
        ) from error
    return sklearn

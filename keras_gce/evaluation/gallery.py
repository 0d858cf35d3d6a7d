"""Adversarial examples to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_gce.evaluation.results import GalleryExample
from keras_gce.per_feature import Bounds, limits_of

__all__ = ["LEFT", "SIZE", "gallery"]

# Most images that attacks broke, and most that they left.
SIZE, LEFT = 8, 4


def gallery(
    found: Sequence[Sequence[tuple[int, np.ndarray, int]]],
    x: np.ndarray,
    y: np.ndarray,
    bounds: Bounds,
    data_format: str = "channels_last",
    left: np.ndarray | None = None,
) -> list[GalleryExample]:
    """Picks examples, of each row in turn, no image twice, and some that were left.

    Args:
        found: For each row a list of (index, adversarial example, class after).
        x: All images.
        y: Their classes, which the model gave them too.
        bounds: The least and the greatest value of a pixel.
        data_format: Where the channels are, in Keras's words.
        left: Boolean array of shape `(N,)`: which images all attacks left right.
            Defaults to `None`: not told.

    Returns:
        List of at most 8 `GalleryExample` that attacks made and, behind them, at most 4
        that they left; empty where `x` is no images of 1 or 3 channels.
    """
    axis = 1 if data_format == "channels_first" else -1
    if x.ndim != 4 or x.shape[axis] not in (1, 3):
        return []

    low, high = limits_of(bounds)

    def pixels(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
        # By the bounds first, which broadcast to the image as it lies.
        share = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
        share = np.moveaxis(share, axis - (axis > 0), -1)
        return np.round(255 * share).astype(np.uint8)

    picked: dict[int, GalleryExample] = {}
    for turn in range(SIZE):
        for row, candidates in enumerate(found):
            new = [one for one in candidates if one[0] not in picked]
            if len(picked) < SIZE and turn < len(candidates) and new:
                index, x_adv, after = new[0]
                delta = x_adv - x[index]
                scale = float(np.abs(delta).max())
                picked[index] = GalleryExample(
                    index=int(index),
                    row=row,
                    label=int(y[index]),
                    before=int(y[index]),
                    after=int(after),
                    clean=pixels(x[index], low, high),
                    adversarial=pixels(x_adv, low, high),
                    difference=pixels(delta, -scale, scale),
                    scale=scale,
                )
    chosen = list(picked.values())
    if left is not None:
        for i in np.flatnonzero(left)[:LEFT]:
            chosen.append(_left(int(i), pixels(x[i], low, high), int(y[i])))
    return chosen


def _left(index: int, image: np.ndarray, label: int) -> GalleryExample:
    return GalleryExample(
        index=index,
        row=0,
        label=label,
        before=label,
        after=label,
        clean=image,
        adversarial=image,
        difference=np.full_like(image, 128),
        scale=0.0,
    )

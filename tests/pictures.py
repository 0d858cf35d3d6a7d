"""Folders of small images, for tests: each class has a shade of its own."""

import keras
import numpy as np

__all__ = ["CLASSES", "write_classes"]

CLASSES = ("ape", "bee", "cat")
KINDS = (".png", ".bmp", ".jpg")


def write_classes(folder, classes=CLASSES, count=4, size=(8, 10), kinds=KINDS):
    """Writes `folder/<class>/<number>`; class i of images from 80 i to 80 i + 20."""
    random = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = 80 * label + random.integers(0, 21, (*size, 3))
            kind = kinds[number % len(kinds)]
            keras.utils.save_img(
                folder / name / f"{number}{kind}", image.astype("uint8"), scale=False
            )
    return folder

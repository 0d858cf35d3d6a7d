"""Tiny ImageNet as a TFDS builder: import this, then `tfds.load("tiny_imagenet")`."""

import hashlib
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from keras_gce.errors import InputError

__all__ = ["TinyImagenet"]

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
FOLDER = "tiny-imagenet-200"
NUM_CLASSES = 200
SHAPE = (64, 64, 3)
# Bytes of one file; the real ones have a few thousand, words.txt 2.6 million.
LARGEST = 10_000_000

TRAIN = re.compile(r"train/(n\d{8})/images/[^/]+\.JPEG")
VALIDATION = re.compile(r"val/images/([^/]+\.JPEG)")


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
    """Tiny ImageNet: 200 classes of ImageNet, 64 x 64 pixels.

    100,000 images in "train" and 10,000 in "validation"; the original's test images
    have no labels and are left out. Classes are in the order of their WordNet ids,
    and are named by the first of the names in `words.txt`.

    The archive is downloaded, or is taken from the manual folder, as
    `tiny-imagenet-200.zip` or unpacked as `tiny-imagenet-200`. It is read where it
    is: nothing is unpacked, so no path in it leads anywhere. Images that are not RGB,
    of which the original has some, are converted.

    Raises:
        InputError: If files are missing or damaged, or labels do not fit the images.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Put tiny-imagenet-200.zip from {URL} here."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="200 classes of ImageNet at 64 x 64 pixels.",
            homepage="http://cs231n.stanford.edu",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=SHAPE),
                    "label": tfds.features.ClassLabel(num_classes=NUM_CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        path = _located(dl_manager)
        with _Archive(path) as archive:
            ids, names = _classes(archive)
            label = {wnid: number for number, wnid in enumerate(ids)}
            train = {
                name: label[_known(found[1], label, name)]
                for name in archive.names
                if (found := TRAIN.fullmatch(name))
            }
            validation = _validation(archive, label)
        self.info.features["label"].names = names
        if set(train.values()) != set(label.values()):
            empty = sorted(set(label) - {ids[number] for number in train.values()})
            raise InputError(
                f"{path} must hold training images of each class. "
                f"Received: none of {', '.join(empty[:3])}"
            )
        return {
            "train": self._generate_examples(path, train),
            "validation": self._generate_examples(path, validation),
        }

    def _generate_examples(
        self, path: pathlib.Path, labels: dict[str, int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        # Opened anew, since TFDS asks for the examples when it likes.
        with _Archive(path) as archive:
            for name, label in sorted(labels.items()):
                yield name, {"image": _image(archive, name), "label": label}


def _located(dl_manager: Any) -> pathlib.Path:
    """Returns the archive: the one put by hand, or else downloaded."""
    try:
        manual: pathlib.Path | None = pathlib.Path(dl_manager.manual_dir)
    except AssertionError:  # There is no such folder.
        manual = None
    for name in (f"{FOLDER}.zip", FOLDER):
        if manual is not None and (manual / name).exists():
            return manual / name
    path = pathlib.Path(dl_manager.download(URL))
    if path.is_file():
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 != MD5:
            raise InputError(
                f"The download of {URL} must have the MD5 sum {MD5}. Received: {md5}"
            )
    return path


class _Archive:
    """The files of the archive, by their names below `tiny-imagenet-200`."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.zip: zipfile.ZipFile | None = None
        # Paths in a folder, entries of a zip.
        self.files: dict[str, Any]
        if path.is_dir():
            root = path / FOLDER if (path / FOLDER).is_dir() else path
            self.files = {
                file.relative_to(root).as_posix(): file
                for file in root.rglob("*")
                if file.is_file()
            }
        else:
            try:
                self.zip = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError) as error:
                raise InputError(
                    f"{path} must be the zip archive of Tiny ImageNet. "
                    f"Received: {error}"
                ) from error
            self.files = {
                info.filename.removeprefix(f"{FOLDER}/"): info
                for info in self.zip.infolist()
                if info.filename.startswith(f"{FOLDER}/")
            }
        self.names = sorted(self.files)

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.zip is not None:
            self.zip.close()

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        if name not in self.files:
            raise InputError(f"{self.path} must hold {name}. Received: no such file")
        file = self.files[name]
        size = file.file_size if self.zip else file.stat().st_size
        if size > LARGEST:
            raise InputError(
                f"{name} in {self.path} must have at most {LARGEST} bytes. "
                f"Received: {size}"
            )
        try:
            return self.zip.read(file) if self.zip else file.read_bytes()
        except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{name} in {self.path} must be readable. Received: {error}"
            ) from error

    def rows(self, name: str) -> list[list[str]]:
        """The lines of a text file, split at tabs."""
        try:
            text = self.read(name).decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name} in {self.path} must be text in UTF-8. Received: {error}"
            ) from error
        return [line.split("\t") for line in text.splitlines() if line.strip()]


def _classes(archive: _Archive) -> tuple[list[str], list[str]]:
    """Returns the WordNet ids of the classes, in order, and their names."""
    ids = sorted({row[0].strip() for row in archive.rows("wnids.txt")})
    if len(ids) != NUM_CLASSES:
        raise InputError(
            f"wnids.txt in {archive.path} must list {NUM_CLASSES} classes. "
            f"Received: {len(ids)}"
        )
    words = {row[0]: row[1] for row in archive.rows("words.txt") if len(row) > 1}
    missing = [wnid for wnid in ids if wnid not in words]
    if missing:
        raise InputError(
            f"words.txt in {archive.path} must name each class. "
            f"Received: none for {', '.join(missing[:3])}"
        )
    first = [words[wnid].split(",")[0].strip() for wnid in ids]
    return ids, [
        name if first.count(name) == 1 else f"{name} ({wnid})"
        for name, wnid in zip(first, ids, strict=True)
    ]


def _known(wnid: str, label: dict[str, int], where: str) -> str:
    if wnid not in label:
        raise InputError(
            f"The class of {where} must be one of those in wnids.txt. Received: {wnid}"
        )
    return wnid


def _validation(archive: _Archive, label: dict[str, int]) -> dict[str, int]:
    """Returns the labels of the validation images, by their file names."""
    images = {
        found[1]: name
        for name in archive.names
        if (found := VALIDATION.fullmatch(name))
    }
    annotations = "val/val_annotations.txt"
    classes = {}
    for row in archive.rows(annotations):
        if len(row) < 2:
            raise InputError(
                f"{annotations} in {archive.path} must have a file and a class in "
                f"each line. Received: {row}"
            )
        classes[row[0]] = label[_known(row[1], label, row[0])]
    lost = sorted(images.keys() ^ classes.keys())
    if lost or not images:
        raise InputError(
            f"{annotations} in {archive.path} must have a line for each image in "
            f"val/images, and an image for each line. Received: {len(images)} images, "
            f"{len(classes)} lines; without the other: {', '.join(lost[:3]) or 'none'}"
        )
    return {images[name]: number for name, number in classes.items()}


def _image(archive: _Archive, name: str) -> Any:
    """Returns the bytes of an image in RGB, the pixels of one in other colours."""
    data = archive.read(name)
    try:
        channels = int(tf.io.extract_jpeg_shape(data)[2])
        pixels = tf.io.decode_jpeg(data, channels=3).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{name} in {archive.path} must be a JPEG image. "
            f"Received: {str(error).splitlines()[0][:200]}"
        ) from error
    if pixels.shape != SHAPE:
        raise InputError(
            f"{name} in {archive.path} must have the shape {SHAPE}. "
            f"Received: {pixels.shape}"
        )
    return data if channels == 3 else pixels

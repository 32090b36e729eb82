"""Tiny-ImageNet's folders: classes in the order of wnids.txt, official validation images as the test part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats import tiny_imagenet
from ssmlab.ingest.formats.base import Layout
from tests.ingest.layouts import CONTAINERS, Files, as_folder, encoded, pixels, tiny_files


def found(files: Files, tmp_path: Path, workdir: Path, container: str = "folder") -> Layout:
    result = tiny_imagenet.detect(open_members(CONTAINERS[container](files, tmp_path / "data"), workdir))
    assert result is not None
    return result


@pytest.mark.parametrize("container", ["folder", "zip", "tar.xz"])
def test_folders_give_parts_classes_and_names(container: str, tmp_path: Path, workdir: Path) -> None:
    files = {f"tiny-imagenet-200/{name}": content for name, content in tiny_files().items()}
    result = found(files, tmp_path, workdir, container)
    assert (result.name, result.kind, result.image_shape) == ("tiny-imagenet", "jpeg", (3, 64, 64))
    assert result.class_names == ("crane (n02)", "goldfish", "crane (n03)")
    assert result.parts["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.parts["test"].labels.tolist() == [0, 1, 2]
    assert result.parts["train"].encoded


def test_pixels_are_those_of_pillow_and_grey_becomes_rgb(tmp_path: Path, workdir: Path) -> None:
    files = tiny_files()
    result = found(files, tmp_path, workdir)
    images = result.parts["train"].images.read(np.arange(6))
    names = [f"train/{wnid}/images/{wnid}_{number}.JPEG" for wnid in ("n02", "n01", "n03") for number in (0, 1)]
    for image, name in zip(images, names, strict=True):
        expected = np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, expected)
    assert (images[0, 0] == images[0, 2]).all()
    assert not (images[1, 0] == images[1, 2]).all()


def test_classes_without_images_are_left_out(tmp_path: Path, workdir: Path) -> None:
    result = found(tiny_files(("n05", "n04", "n03", "n02"), present=2), tmp_path, workdir)
    assert result.class_names == ("n05", "n04")
    assert result.parts["train"].labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("folder", ["val/{}/images/", "val/{}/"])
def test_validation_images_may_lie_in_class_folders(folder: str, tmp_path: Path, workdir: Path) -> None:
    files = {name: content for name, content in tiny_files().items() if not name.startswith("val")}
    for wnid in ("n01", "n02", "n03"):
        files[f"{folder.format(wnid)}x.JPEG"] = encoded(pixels(1, (64, 64, 3))[0], "JPEG")
    assert found(files, tmp_path, workdir).parts["test"].labels.tolist() == [0, 1, 2]


def test_the_validation_part_may_be_missing(tmp_path: Path, workdir: Path) -> None:
    files = {name: content for name, content in tiny_files().items() if not name.startswith("val")}
    assert list(found(files, tmp_path, workdir).parts) == ["train"]


def test_other_folders_are_not_taken_for_tiny_imagenet(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_folder({"train/cat/1.png": b"1", "x": b""}, tmp_path / "data"), workdir)
    assert tiny_imagenet.detect(members) is None


ANNOTATIONS = "val/val_annotations.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"train/n77/images/n77_0.JPEG": b"1"}, "n77_0.JPEG: is of a class that wnids.txt", id="train"),
        pytest.param({ANNOTATIONS: b"val_0.JPEG\tn77\n"}, "gives val_0.JPEG the class 'n77'", id="annotation"),
        pytest.param({ANNOTATIONS: b"no tabs"}, "the class ''", id="no tabs"),
        pytest.param({ANNOTATIONS: b"val_0.JPEG\tn01\n"}, "val_1.JPEG: has no label in", id="no annotation"),
        pytest.param({ANNOTATIONS: b"\xff\xfe"}, "is not a text in UTF-8", id="no text"),
        pytest.param({ANNOTATIONS: None}, "is missing: the images in val/images/ have no labels", id="no file"),
        pytest.param({"wnids.txt": b"n01\nn02\nn03\nn01\n"}, "names a class twice", id="twice"),
        pytest.param({"wnids.txt": b"n77\n"}, "is of a class that", id="other classes"),
        pytest.param(
            {"val/val_annotations.txt": b"val_0.JPEG\0\x1b[2J\tn77\n"}, r"gives val_0\.JPEG\\x00\\x1b", id="escapes"
        ),
        pytest.param({"train/n01/images/n01_0.JPEG": b""}, "has 0 bytes, but an image file has", id="empty image"),
        pytest.param(
            {"train/n01/images/n01_0.JPEG": None, "train/n01/images/n01_1.JPEG": None},
            "val/: n01: is a class without training images",
            id="no training images",
        ),
        pytest.param(
            {name: None for name in tiny_files() if name.startswith(("train", "val"))},
            "none of its classes has images",
            id="no images",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    change: dict[str, bytes | None], message: str, tmp_path: Path, workdir: Path
) -> None:
    files = {name: content for name, content in (tiny_files() | change).items() if content is not None}
    with pytest.raises(UserError, match=message) as caught:
        found(files, tmp_path, workdir)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"{tmp_path / 'data'}: ")


@pytest.mark.parametrize("content", [b"no image", encoded(pixels(1, (64, 63, 3))[0], "JPEG")])
def test_damaged_images_are_named_when_they_are_read(content: bytes, tmp_path: Path, workdir: Path) -> None:
    result = found(tiny_files() | {"train/n01/images/n01_0.JPEG": content}, tmp_path, workdir)
    result.parts["train"].images.read(np.array([0, 1, 3, 4, 5]))
    with pytest.raises(UserError, match=r"data: train/n01/images/n01_0.JPEG: (damaged|is 63 x 64 pixels)"):
        result.parts["train"].images.read(np.arange(6))

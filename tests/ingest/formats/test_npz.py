"""MedMNIST's layout: arrays are read as NumPy wrote them, and anything but one label per image is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats import npz
from ssmlab.ingest.formats.base import Layout
from tests.ingest.layouts import Files, as_folder, as_zip, npy, npz_files, pixels


def found(path: Path, workdir: Path) -> Layout:
    result = npz.detect(open_members(path, workdir))
    assert result is not None
    return result


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (4, 7), (4, 7, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_saved_them(shape: tuple[int, ...], save, tmp_path: Path, workdir: Path) -> None:
    arrays = {f"{part}_images": pixels(9, shape, seed) for seed, part in enumerate(("train", "val", "test"))}
    arrays |= {f"{part}_labels": np.arange(9, dtype=np.uint8)[:, None] for part in ("train", "val", "test")}
    save(tmp_path / "set.npz", **arrays)
    result = found(tmp_path / "set.npz", workdir)
    assert (result.name, result.image_shape) == ("npz", (1 if len(shape) == 2 else 3, *shape[:2]))
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        images = result.parts[part].images.read(np.array([3, 0]))
        expected = arrays[f"{name}_images"][[3, 0]].reshape(2, *shape[:2], -1)
        np.testing.assert_array_equal(images.transpose(0, 2, 3, 1), expected)
        assert images.flags.c_contiguous
        np.testing.assert_array_equal(result.parts[part].labels, np.arange(9))
        assert result.parts[part].labels.dtype == np.int64


def test_a_compressed_npz_and_a_folder_of_arrays_are_read(tmp_path: Path, workdir: Path) -> None:
    packed = tmp_path / "set.npz.gz"
    packed.write_bytes(gzip.compress(as_zip(npz_files(), tmp_path / "set.npz").read_bytes()))
    assert len(found(packed, workdir).parts) == 3
    (tmp_path / "more").mkdir()
    assert len(found(as_folder(npz_files(), tmp_path / "folder"), tmp_path / "more").parts) == 3


@pytest.mark.parametrize("kind", ["<i8", ">i2", "u1"])
def test_labels_of_any_integer_type_are_read(kind: str, tmp_path: Path, workdir: Path) -> None:
    files = npz_files() | {"train_labels.npy": npy(np.arange(20).astype(kind))}
    assert found(as_zip(files, tmp_path / "x.npz"), workdir).parts["train"].labels.tolist() == list(range(20))


def test_other_arrays_are_not_taken_for_medmnist(tmp_path: Path, workdir: Path) -> None:
    assert npz.detect(open_members(as_zip({"x.npy": npy(pixels(2, (2,)))}, tmp_path / "x.npz"), workdir)) is None


IMAGES, LABELS = "train_images.npy", "train_labels.npy"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({LABELS: npy(np.zeros((20, 14), np.uint8))}, "has 14 labels per image", id="multi-label"),
        pytest.param({IMAGES: npy(pixels(20, (8, 8, 8)))}, "3-D volumes", id="3-D"),
        pytest.param({IMAGES: npy(pixels(20, (8, 8, 8, 3)))}, "3-D volumes", id="3-D RGB"),
        pytest.param({IMAGES: npy(np.zeros((20, 5, 5)))}, "is float64 of shape", id="floats"),
        pytest.param({IMAGES: npy(pixels(20, (25,)))}, "is uint8 of shape", id="flat"),
        pytest.param({IMAGES: npy(pixels(20, (0, 5)))}, "is uint8 of shape", id="no pixels"),
        pytest.param({LABELS: npy(np.zeros(20))}, "is float64 of shape", id="float labels"),
        pytest.param({LABELS: npy(np.zeros(19, np.uint8))}, "not a label for each image", id="19 labels"),
        pytest.param({LABELS: npy(np.array([None] * 20), True)}, "holds Python objects", id="objects"),
        pytest.param({IMAGES: npy(np.asfortranarray(pixels(20, (5, 5))))}, "Fortran's order", id="Fortran"),
        pytest.param({IMAGES: npz_files()[IMAGES][:-1]}, "declares 500 bytes and has 499", id="short"),
        pytest.param({IMAGES: npz_files()[IMAGES] + b"1"}, "declares 500 bytes and has 501", id="long"),
        pytest.param({IMAGES: npz_files()[IMAGES][:30]}, "not a NumPy array", id="half a header"),
        pytest.param({IMAGES: b"not an array"}, "not a NumPy array", id="text"),
        pytest.param(
            {IMAGES: npz_files()[IMAGES].replace(b"(20, 5, 5)", b"id(1)     ")}, "not a NumPy array", id="code"
        ),
        pytest.param({IMAGES: npy(pixels(20, (6, 6)))}, "another shape", id="shapes"),
        pytest.param({IMAGES: npy(pixels(20, (3, 8, 8)))}, "channels come first; put them last", id="first"),
        pytest.param({IMAGES: npy(pixels(20, (3, 8, 3)))}, "channels come first; put them last", id="first or last"),
        pytest.param({IMAGES: npy(pixels(20, (1, 8, 3)))}, "channels come first; put them last", id="grey, 3 wide"),
        pytest.param({IMAGES: npy(pixels(20, (8, 8, 4)))}, "4 channels, but images must have", id="four channels"),
        pytest.param({IMAGES: npy(np.zeros((20, 5, 5), bool))}, "is bool of shape", id="bits"),
        pytest.param({IMAGES: npy(np.zeros((20, 5, 5), np.uint16))}, "is uint16 of shape", id="16 bits"),
        pytest.param({LABELS: npy(np.arange(20) - 1)}, "has labels from -1 to 18", id="negative label"),
        pytest.param({LABELS: npy(np.arange(20) + 2**62)}, "has labels from 4611", id="label as a size"),
        pytest.param({LABELS: npy(np.full(20, 2**64 - 1, np.uint64))}, "has labels from 1844", id="label beyond int64"),
        pytest.param({LABELS: npy(np.zeros(20, bool))}, "is bool of shape", id="labels yes or no"),
        pytest.param({f"x{n}": b"" for n in range(64)}, "too many for a .npz; remove those", id="many"),
    ],
)
def test_arrays_that_are_not_medmnists_are_refused(change: Files, message: str, tmp_path: Path, workdir: Path) -> None:
    path = as_zip(npz_files() | change, tmp_path / "x.npz")
    with pytest.raises(UserError, match=message) as caught:
        found(path, workdir)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_images_without_labels_are_refused(tmp_path: Path, workdir: Path) -> None:
    files = {name: content for name, content in npz_files().items() if name != "val_labels.npy"}
    with pytest.raises(UserError, match=r"val_labels\.npy: one of them is missing"):
        found(as_zip(files, tmp_path / "x.npz"), workdir)


HEADERS = {
    "a negative length": "{'descr': '|u1', 'fortran_order': False, 'shape': (-20, -5, 5)}",
    "true and false": "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 5, 5)}",
    "a length beyond all": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**400}, 5, 5)}}",
    "brackets without end": "(" * 900,
    "nested lists": "[" * 150 + "]" * 150,
    "an unknown type": "{'descr': 'zz', 'fortran_order': False, 'shape': (20, 5, 5)}",
    "a type of nothing": "{'descr': '|V0', 'fortran_order': False, 'shape': (20, 5, 5)}",
    "a type that is a list": "{'descr': [('a', [('b', 3)])], 'fortran_order': False, 'shape': (20, 5, 5)}",
    "a key that is a set": "{{1}: 2}",
    "bytes": "b'\\xff'",
    "a huge type": "{'descr': '|S999999999999', 'fortran_order': False, 'shape': (20, 5, 5)}",
    "nothing": "",
    "no dict": "3",
    "an unfinished text": "{'descr': '",
    "a complex length": "{'descr': '|u1', 'fortran_order': False, 'shape': (20, 5, 5 + 2j)}",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00"])
@pytest.mark.parametrize("header", HEADERS)
def test_made_up_headers_are_refused_in_one_line(header: str, version: bytes, tmp_path: Path, workdir: Path) -> None:
    text = HEADERS[header].encode() + b"\n"
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    content = b"\x93NUMPY" + version + length + text + bytes(500)
    with pytest.raises(UserError, match=r"train_images\.npy: ") as caught:
        found(as_zip(npz_files() | {IMAGES: content}, tmp_path / "x.npz"), workdir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_last_axis_of_channels_is_read(channels: int, tmp_path: Path, workdir: Path) -> None:
    array = pixels(20, (4, 7, channels))
    files = npz_files(shape=(4, 7, channels)) | {IMAGES: npy(array)}
    part = found(as_zip(files, tmp_path / "x.npz"), workdir).parts["train"]
    np.testing.assert_array_equal(part.images.read(np.arange(20)), array.transpose(0, 3, 1, 2))

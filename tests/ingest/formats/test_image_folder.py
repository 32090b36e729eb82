"""Image folders: classes by name, every supported file type, and unexpected files are refused."""

from __future__ import annotations

import io
import pickle
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.core.events import silence
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats import image_folder
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.encoded import CODECS, SUFFIXES, EncodedImages, common_shape
from ssmlab.ingest.resize import Resized, fit_image, image_to_array
from ssmlab.ingest.source import ArrayImages
from ssmlab.ingest.unpack import ByteRange
from tests.ingest.layouts import CONTAINERS, Files, as_folder, encoded, image_files, pixels


def found(files: Files, tmp_path: Path, workdir: Path, container: str = "folder") -> Layout:
    result = image_folder.detect(open_members(CONTAINERS[container](files, tmp_path / "data"), workdir))
    assert result is not None
    return result


def read_all(images: EncodedImages) -> npt.NDArray[np.uint8]:
    shaped = EncodedImages(images.origin, images.files, common_shape([images], None, None, silence))
    return shaped.read(np.arange(len(images.files)))


@pytest.mark.parametrize("container", CONTAINERS)
def test_folders_give_parts_and_classes(container: str, tmp_path: Path, workdir: Path) -> None:
    files = {f"wrapped/{name}": image for name, image in image_files(("train/", "valid/", "test/")).items()}
    result = found(files, tmp_path, workdir, container)
    assert (result.name, result.kind, result.class_names) == ("image-folder", "png", ("cat", "dog", "frog"))
    assert set(result.parts) == {"train", "validation", "test"}
    for part, folder in (("train", "train"), ("validation", "valid"), ("test", "test")):
        assert result.parts[part].labels.tolist() == [0, 0, 1, 1, 2, 2]
        expected = [np.asarray(Image.open(io.BytesIO(files[name]))) for name in sorted(files) if f"/{folder}/" in name]
        images = result.parts[part].images
        assert isinstance(images, EncodedImages)
        np.testing.assert_array_equal(read_all(pickle.loads(pickle.dumps(images))).transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("wrapper", ["", "wrapped/", "train/", "wrapped/train/"])
def test_class_folders_alone_are_a_training_part(wrapper: str, tmp_path: Path, workdir: Path) -> None:
    result = found(image_files((wrapper,)), tmp_path, workdir)
    assert list(result.parts) == ["train"]
    assert result.class_names == ("cat", "dog", "frog")


def test_readmes_and_licences_are_ignored(tmp_path: Path, workdir: Path) -> None:
    files = image_files() | {"README.md": b"", "LICENSE": b"", "readme.txt": b"", "train/cat/Thumbs.db": b""}
    assert len(found(files, tmp_path, workdir).parts["train"]) == 6


def test_files_without_class_folders_are_not_taken(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_folder({"x.png": b"1", "a/y": b""}, tmp_path / "data"), workdir)
    assert image_folder.detect(members) is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(
            image_files() | {"train/cat/notes.txt": b"1"},
            "cat/notes.txt: is not of a type",
            id="text",
        ),
        pytest.param(image_files() | {"train/cat/x.svg": b"1"}, "x.svg: is not of a type", id="svg"),
        pytest.param(image_files() | {"labels.csv": b"1"}, "labels.csv: is not of a type", id="labels"),
        pytest.param(image_files() | {"train/1.png": b"1"}, "train/1.png: does not lie at train/<class>/", id="bare"),
        pytest.param(image_files() | {"train/cat/a/1.png": b"1"}, "a/1.png: does not lie at", id="deep"),
        pytest.param(image_files() | {"extra/cat/1.png": b"1"}, "extra/cat/1.png: does not lie at", id="fourth part"),
        pytest.param(image_files(("val/", "valid/", "train/")), "in a second validation part", id="two validations"),
        pytest.param(image_files(("a/train/", "b/train/")), "does not lie at <class>/", id="two sets"),
        pytest.param(
            image_files() | {"test/eel/1.png": b"1"}, "eel: is a class without images in the training part", id="more"
        ),
        pytest.param(
            image_files() | {"train/eel/1.png": b"1"}, "eel: is a class without images in the test part", id="less"
        ),
        pytest.param(image_files(classes=("cat",)), "cat: is the only class", id="one class"),
        pytest.param(image_files() | {"train/cat/x.png": b""}, "x.png: has 0 bytes", id="empty"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(files: Files, message: str, tmp_path: Path, workdir: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        found(files, tmp_path, workdir)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'data'}: ")


def test_an_empty_part_is_not_left_out_in_silence(tmp_path: Path, workdir: Path) -> None:
    """Its images would be taken from the training images."""
    as_folder(image_files(("train/",)), tmp_path / "data")
    (tmp_path / "data" / "test").mkdir()
    with pytest.raises(UserError, match="test: has no images; put class folders into it, or remove it"):
        image_folder.detect(open_members(tmp_path / "data", workdir))


@pytest.mark.parametrize("parts", [("",), ("train/", "test/")])
@pytest.mark.parametrize("container", ["folder", "zip", "tar.gz"])
def test_an_empty_class_folder_is_not_left_out_in_silence(
    container: str, parts: tuple[str, ...], tmp_path: Path, workdir: Path
) -> None:
    """It would renumber the classes after it."""
    folder = as_folder({f"set/{name}": image for name, image in image_files(parts).items()}, tmp_path / "made")
    found_with = {"folder": None, "zip": "zip", "tar.gz": "gztar"}[container]

    def packed(name: str) -> Path:
        return folder if found_with is None else Path(shutil.make_archive(str(tmp_path / name), found_with, folder))

    whole = image_folder.detect(open_members(packed("whole"), workdir))
    assert whole is not None and whole.class_names == ("cat", "dog", "frog")
    (folder / "set" / parts[0] / "bird").mkdir()
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match=rf"{parts[0]}bird: is a class folder without images"):
        image_folder.detect(open_members(packed("empty"), tmp_path / "more"))


# --- images ---


def images_of(contents: list[bytes], tmp_path: Path) -> EncodedImages:
    """Image files one after the other in one file."""
    (tmp_path / "spool").write_bytes(b"before" + b"".join(contents))
    files, offset = [], 6
    for number, content in enumerate(contents):
        files.append(ByteRange(f"{number}.x", tmp_path / "spool", offset, len(content)))
        offset += len(content)
    return EncodedImages(Path("set.zip"), tuple(files))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "JPEG", "WEBP"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_every_file_type_is_decoded(kind: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    array = pixels(1, shape)[0] // 64 * 64 if kind != "GIF" or len(shape) == 2 else np.zeros(shape, np.uint8)
    content = encoded(array, kind, **options)
    images = read_all(images_of([content, content], tmp_path))
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("L" if images.shape[1] == 1 else "RGB"))
    np.testing.assert_array_equal(images[1].transpose(1, 2, 0).squeeze(), expected)
    if kind != "JPEG":  # the only one that loses anything here
        whole = (each.reshape(9, 7, -1) for each in (expected, array))
        np.testing.assert_array_equal(*(np.broadcast_to(each, (9, 7, 3)) for each in whole))
    assert kind in CODECS
    assert kind.lower() in SUFFIXES.values()


def test_one_channel_only_where_all_are_grey(tmp_path: Path) -> None:
    grey, colour = encoded(pixels(1, (4, 4))[0]), encoded(pixels(1, (4, 4, 3))[0])
    assert read_all(images_of([grey, grey], tmp_path)).shape == (2, 1, 4, 4)
    assert read_all(images_of([grey, colour], tmp_path)).shape == (2, 3, 4, 4)
    assert read_all(images_of([colour, grey], tmp_path)).shape == (2, 3, 4, 4)
    assert common_shape([images_of([grey, colour], tmp_path)], None, 1, silence) == (1, 4, 4)
    assert common_shape([images_of([grey], tmp_path)], None, 3, silence) == (3, 4, 4)
    assert common_shape([images_of([grey], tmp_path), images_of([colour], tmp_path)], 8, None, silence) == (3, 8, 8)


@pytest.mark.parametrize("mode", ["I;16", "F", "I"])
def test_more_than_8_bits_are_not_clipped_but_refused(mode: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, "TIFF")
    with pytest.raises(UserError, match=r"set.zip: 0.x: has pixels of the kind"):
        read_all(images_of([buffer.getvalue()], tmp_path))


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with hardly any pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


GOOD = encoded(pixels(1, (16, 16, 3))[0], "JPEG", quality=95)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no image", id="text"),
        pytest.param(GOOD[: len(GOOD) // 2], id="cut short"),
        pytest.param(encoded(pixels(1, (16, 16))[0])[:-30], id="PNG cut short"),
        pytest.param(png_of(16, 16), id="too few pixels"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n", id="PostScript"),
    ],
)
@pytest.mark.parametrize("square", [False, True])
def test_damaged_images_are_refused_by_name(content: bytes, square: bool, tmp_path: Path) -> None:
    images = images_of([GOOD, content], tmp_path)
    shaped = EncodedImages(images.origin, images.files, (3, 16, 16), square)
    shaped.read(np.array([0]))
    with pytest.raises(UserError, match=r"^set.zip: 1.x: damaged \(.*\); fix or remove it$") as caught:
        shaped.read(np.array([0, 1]))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=25)
@given(data=st.data(), kind=st.sampled_from(["PNG", "BMP", "GIF", "TIFF", "PPM", "JPEG", "WEBP"]))
def test_a_damaged_image_never_gives_a_traceback(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(encoded(pixels(1, (16, 16, 3))[0], kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    images = images_of([bytes(content)], tmp_path_factory.mktemp("damaged"))
    try:
        common_shape([images], 8, None, silence)
        EncodedImages(images.origin, images.files, (3, 8, 8), True).read(np.array([0]))
    except UserError as error:
        assert "\n" not in str(error)


def test_images_of_different_sizes_are_refused_with_the_remedy(tmp_path: Path) -> None:
    images = images_of([encoded(pixels(1, (4, 4))[0]), encoded(pixels(1, (4, 5))[0])], tmp_path)
    with pytest.raises(UserError, match=r"^set.zip: 1.x: is 5 x 4 pixels, the others are 4 x 4; set data.size"):
        common_shape([images], None, None, silence)


def test_headers_are_not_read_when_size_and_channels_are_given(tmp_path: Path) -> None:
    assert common_shape([images_of([b"no image"], tmp_path)], 12, 3, silence) == (3, 12, 12)


# --- cutting and scaling ---


def test_the_centre_is_cut_and_an_exact_square_is_untouched() -> None:
    wide = pixels(1, (4, 10, 3))[0]
    np.testing.assert_array_equal(
        image_to_array(fit_image(Image.fromarray(wide), (3, 4, 4))), wide[:, 3:7].transpose(2, 0, 1)
    )
    tall = pixels(1, (11, 4))[0]
    np.testing.assert_array_equal(image_to_array(fit_image(Image.fromarray(tall), (1, 4, 4))), tall[None, 3:7])


def test_halving_is_bilinear_with_antialiasing() -> None:
    """Pillow's triangle filter of twice the width: weights 1, 3, 3, 1 over 8 on every axis, except at the edges."""
    image = pixels(1, (16, 16))[0]
    weights = np.array([1, 3, 3, 1]) / 8
    padded = image.astype(float)
    rows = np.stack([weights @ padded[2 * i - 1 : 2 * i + 3] for i in range(1, 7)])
    both = np.stack([rows[:, 2 * j - 1 : 2 * j + 3] @ weights for j in range(1, 7)], axis=1)
    scaled = image_to_array(fit_image(Image.fromarray(image), (1, 8, 8)))[0]
    assert np.abs(scaled[1:7, 1:7] - both).max() <= 1


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.integers(1, 24),
    value=st.integers(0, 255),
    channels=st.sampled_from([1, 3]),
)
def test_a_uniform_image_stays_uniform(height: int, width: int, size: int, value: int, channels: int) -> None:
    image = Image.fromarray(np.full((height, width, 3), value, np.uint8))
    np.testing.assert_array_equal(image_to_array(fit_image(image, (channels, size, size))), value)


def test_arrays_are_resized_as_files_are(tmp_path: Path) -> None:
    arrays = pixels(5, (12, 9, 3))
    files = images_of([encoded(array) for array in arrays], tmp_path)
    rows = np.array([4, 0, 0, 2])
    for shape in ((1, 6, 6), (3, 9, 9), (3, 20, 20), (1, 12, 9)):
        from_arrays = Resized(ArrayImages(arrays.transpose(0, 3, 1, 2)), shape).read(rows)
        from_files = EncodedImages(files.origin, files.files, shape, True).read(rows)
        np.testing.assert_array_equal(from_arrays, from_files)
        assert from_arrays.shape == (4, *shape)


def test_grey_is_the_weighted_mean_and_rgb_repeats_grey() -> None:
    colour = pixels(3, (3, 8, 8))
    grey = Resized(ArrayImages(colour), (1, 8, 8)).read(np.arange(3))
    luma = np.tensordot(colour.astype(float), [0.299, 0.587, 0.114], axes=(1, 0))
    assert np.abs(grey[:, 0] - luma).max() <= 1
    np.testing.assert_array_equal(Resized(ArrayImages(grey), (3, 8, 8)).read(np.arange(3)), grey.repeat(3, axis=1))

"""Every kind of image that Pillow reads is shown as a viewer shows it, or refused with file and reason.

A test for each row of the table in docs/data.md.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.core.events import silence
from ssmlab.ingest.formats.encoded import EncodedImages, common_shape
from ssmlab.ingest.unpack import ByteRange
from tests.ingest.layouts import pixels

READS_YCBCR = int(PIL.__version__.partition(".")[0]) >= 13  # uncompressed, in a TIFF
Pixels = npt.NDArray[np.uint8]
GREY, COLOUR = pixels(1, (6, 9))[0], pixels(1, (6, 9, 3))[0]


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, tmp_path: Path) -> Pixels:
    """The decoded image (H, W) or (H, W, 3). Every warning is an error, and header and pixels must agree."""
    (tmp_path / "image").write_bytes(content)
    images = EncodedImages(Path("set"), (ByteRange("cat/1.png", tmp_path / "image", 0, len(content)),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shape = common_shape([images], None, None, silence)
        pixels = EncodedImages(images.origin, images.files, shape).read(np.array([0]))[0]
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^set: cat/1.png: .*{reason}") as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value)


def on_white(colour: Pixels, alpha: Pixels) -> npt.NDArray[np.float64]:
    """The definition: alpha of the picture and the rest of it white."""
    weight = alpha.astype(float) / 255
    weight = weight if colour.ndim == 2 else weight[..., None]
    return colour * weight + 255 * (1 - weight)


# --- modes ---


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_and_grey_are_one_channel(mode: str, kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(GREY).convert(mode)
    np.testing.assert_array_equal(read(saved(image, kind), tmp_path), np.asarray(image.convert("L")))


def test_grey_where_zero_is_white_is_inverted(tmp_path: Path) -> None:
    """TIFF's photometric interpretation 0, which scanners write."""
    content = saved(Image.fromarray(GREY), "TIFF", tiffinfo={262: 0})
    shown = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(read(content, tmp_path), np.asarray(shown.convert("L")))


@pytest.mark.parametrize("mode", ["P", "RGB", "CMYK", "YCbCr"])
def test_palettes_and_colour_spaces_become_rgb(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    kind = "PNG" if mode in ("P", "RGB") else "TIFF"
    if mode == "YCbCr" and not READS_YCBCR:
        refused(saved(image, kind), "update Pillow", tmp_path)
        return
    np.testing.assert_array_equal(read(saved(image, kind), tmp_path), np.asarray(image.convert("RGB")))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + packed + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "row", "shown"), [(1, 0xA0, [255, 0]), (2, 0xD0, [255, 85]), (4, 0x3F, [51, 255])])
def test_fewer_bits_are_stretched_to_the_whole_range(depth: int, row: int, shown: list[int], tmp_path: Path) -> None:
    assert read(png(2, 1, depth, 0, bytes([0, row])), tmp_path).tolist() == [shown]


def test_16_bit_rgb_keeps_its_high_bytes_as_viewers_do(tmp_path: Path) -> None:
    rows = bytes([0]) + struct.pack(">3H", 0x12FF, 0x8000, 0xFF01)
    assert read(png(1, 1, 16, 2, rows), tmp_path).tolist() == [[[0x12, 0x80, 0xFF]]]


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_grey_of_more_than_8_bits_is_refused(mode: str, tmp_path: Path) -> None:
    refused(saved(Image.new(mode, (4, 4)), "TIFF"), "not 8 bits a channel; save it as 8-bit grey or RGB", tmp_path)


def test_16_bit_grey_png_and_pgm_are_refused(tmp_path: Path) -> None:
    refused(png(1, 1, 16, 0, bytes([0, 1, 2])), "not 8 bits a channel", tmp_path)
    refused(b"P5 1 1 4095 " + bytes([1, 2]), "not 8 bits a channel", tmp_path)


def test_lab_images_are_refused(tmp_path: Path) -> None:
    refused(saved(Image.new("LAB", (4, 4)), "TIFF"), "pixels of the kind LAB", tmp_path)


def test_signed_pixels_are_refused(tmp_path: Path) -> None:
    refused(saved(Image.fromarray(GREY), "TIFF", tiffinfo={339: 2}), "signed pixels|damaged", tmp_path)


# --- transparency ---


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), grey=st.booleans(), kind=st.sampled_from(["PNG", "TIFF", "WEBP"]))
def test_transparent_images_lie_on_white(
    seed: int, grey: bool, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    colour = pixels(1, (5, 7) if grey else (5, 7, 3), seed)[0]
    alpha = pixels(1, (5, 7), seed + 1)[0]
    layered = np.dstack([colour, alpha])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    shown = read(saved(Image.fromarray(layered), kind, **options), tmp_path_factory.mktemp("layered"))
    if grey and kind == "WEBP":  # which has no grey
        colour = colour[..., None].repeat(3, axis=2)
    assert np.abs(shown - on_white(colour, alpha)).max() <= 1


def test_a_picture_in_the_alpha_channel_becomes_visible(tmp_path: Path) -> None:
    """Black everywhere, the picture in the transparency: dropping it once gave all zeros."""
    layered = np.dstack([np.zeros_like(COLOUR), GREY])
    assert np.abs(read(saved(Image.fromarray(layered)), tmp_path) - (255.0 - GREY[..., None])).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_opaque_alpha_channel_changes_nothing(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    plain = np.asarray(image.convert("L" if mode == "LA" else "RGB"))
    np.testing.assert_array_equal(read(saved(image), tmp_path), plain)


@pytest.mark.parametrize("colour", [(255, 255, 255, 99), (0, 0, 0, 0)])
def test_an_image_that_is_invisible_on_white_is_refused(colour: tuple[int, ...], tmp_path: Path) -> None:
    layered = np.full((4, 4, 4), colour, np.uint8)
    layered[0, 0, 3] = 0
    refused(saved(Image.fromarray(layered)), "so it is blank on a white background; flatten it", tmp_path)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 2))])
def test_transparent_palette_entries_lie_on_white(transparency: int | bytes, tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(128)
    content = saved(image, "PNG", transparency=transparency)
    index = np.asarray(image)
    table = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        table[transparency] = 0
    else:
        table[: len(transparency)] = list(transparency)
    expected = on_white(np.asarray(image.convert("RGB")), table[index])
    assert np.abs(read(content, tmp_path) - expected).max() <= 1


def test_a_transparent_colour_lies_on_white(tmp_path: Path) -> None:
    grey, colour = GREY.copy(), COLOUR.copy()
    grey[0, 0], colour[0, 0] = 7, (1, 2, 3)
    shown = read(saved(Image.fromarray(grey), transparency=7), tmp_path)
    np.testing.assert_array_equal(shown, np.where(grey == 7, 255, grey))
    shown = read(saved(Image.fromarray(colour), transparency=(1, 2, 3)), tmp_path)
    assert shown[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(shown[1:], colour[1:])


# --- orientation ---

AS_TAGGED = {  # what the values of the tag mean, by the EXIF standard, in NumPy's words
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
    0: lambda image: image,  # no such value: shown as it lies
    9: lambda image: image,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", AS_TAGGED)
def test_images_are_turned_upright(kind: str, value: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    options = {"tiffinfo": {274: value}} if kind == "TIFF" else {"exif": exif}
    options |= {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(COLOUR), kind, **options)
    plain = saved(Image.fromarray(COLOUR), kind, **({"lossless": True} if kind == "WEBP" else {}))
    stored = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    np.testing.assert_array_equal(read(content, tmp_path), AS_TAGGED[value](stored))


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    content = saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffjunk")
    stored = np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(COLOUR), "JPEG"))))
    np.testing.assert_array_equal(read(content, tmp_path), stored)


# --- frames ---


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_several_pages_are_refused(kind: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels(1, (6, 9, 3), seed)[0]) for seed in range(3)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    refused(content, "several frames or pages; keep one of them", tmp_path)


def test_a_photo_with_a_preview_is_the_photo(tmp_path: Path) -> None:
    """MPO, which phones write under the name .jpg."""
    frames = [Image.fromarray(pixels(1, (6, 9, 3), seed)[0]) for seed in range(2)]
    content = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    photo = np.asarray(Image.open(io.BytesIO(saved(frames[0], "JPEG"))))
    np.testing.assert_array_equal(read(content, tmp_path), photo)


def test_an_orientation_noted_in_xmp_is_followed(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    stored = np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(COLOUR), "JPEG"))))
    content = saved(Image.fromarray(COLOUR), "JPEG", xmp=xmp)
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == 3
    np.testing.assert_array_equal(read(content, tmp_path), np.rot90(stored, 2))


# --- what libraries say about damaged files ---

READING = """
import sys
from pathlib import Path
from ssmlab.core.errors import UserError
from ssmlab.core.events import silence
from ssmlab.ingest.formats.encoded import EncodedImages, common_shape
from ssmlab.ingest.unpack import ByteRange
path = Path(sys.argv[1])
images = EncodedImages(Path("set"), (ByteRange("1", path, 0, path.stat().st_size),), (3, 8, 8), True)
try:
    common_shape([images], None, None, silence)
    images.read([0])
except UserError as error:
    sys.exit(7)
"""


@pytest.mark.parametrize("damage", ["samples", "codes"])
def test_neither_pillow_nor_libtiff_prints_anything(damage: str, tmp_path: Path) -> None:
    """Pillow logs an impossible number of samples; libtiff prints, from C, that a code of LZW is not in its table."""
    if damage == "samples":
        content = bytearray(saved(Image.fromarray(np.dstack([COLOUR, GREY])), "TIFF"))
        at = content.index(struct.pack("<HHL", 277, 3, 1)) + 8  # samples a pixel
        content[at : at + 2] = struct.pack("<H", 278)
    else:
        content = bytearray(saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw"))
        at = content.index(b"\x80", 8)
        content[at + 1 : at + 9] = b"\xff" * 8
    (tmp_path / "image").write_bytes(content)
    command = [sys.executable, "-c", READING, str(tmp_path / "image")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, "", "")


# --- sizes ---


@pytest.mark.parametrize(("width", "height"), [(5001, 5000), (13_300, 13_300), (60_000, 60_000), (2**31 - 1, 1)])
def test_headers_that_promise_too_many_pixels_are_refused_undecoded(width: int, height: int, tmp_path: Path) -> None:
    refused(png(width, height, 8, 0, b"\0"), "pixels|damaged", tmp_path)

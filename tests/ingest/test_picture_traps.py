"""Image files that Pillow silently decodes to a picture other than the one that was saved.

Each is written here byte by byte, because Pillow cannot write it, and the picture is what its format's standard says.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ingest.test_picture import GREY, READS_YCBCR, chunk, png, read, refused, saved

Tags = dict[int, tuple[int, ...]]
STRIP_OFFSETS, STRIP_BYTES, LONG, SHORT = 273, 279, 4, 3
PLAIN_RGB: Tags = {258: (8, 8, 8), 259: (1,), 262: (2,), 277: (3,), 278: (1,)}


def tiff(width: int, height: int, tags: Tags, strips: list[bytes]) -> bytes:
    """A little-endian TIFF with these strips; all other tags are 16-bit numbers."""
    every = {256: (width,), 257: (height,), **tags, STRIP_OFFSETS: (0,) * len(strips)}
    every |= {STRIP_BYTES: tuple(map(len, strips))}
    kinds = {tag: LONG if tag in (STRIP_OFFSETS, STRIP_BYTES, 532) else SHORT for tag in every}
    length = {tag: len(values) * (4 if kinds[tag] == LONG else 2) for tag, values in every.items()}
    directory = 8 + 2 + 12 * len(every) + 4
    pixels = directory + sum(bytes_ for bytes_ in length.values() if bytes_ > 4)
    every[STRIP_OFFSETS] = tuple(pixels + sum(map(len, strips[:number])) for number in range(len(strips)))
    entries, beside = b"", b""
    for tag, values in sorted(every.items()):
        packed = struct.pack(f"<{len(values)}{'I' if kinds[tag] == LONG else 'H'}", *values)
        entries += struct.pack("<HHI", tag, kinds[tag], len(values))
        entries += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", directory + len(beside))
        beside += packed if len(packed) > 4 else b""
    return struct.pack("<2sHIH", b"II", 42, 8, len(every)) + entries + bytes(4) + beside + b"".join(strips)


def gif(corner: int, transparent: bool) -> bytes:
    """A picture of 3 x 1 pixels whose only frame begins at column `corner` and has red, then green."""
    screen = struct.pack("<6sHHBBB", b"GIF89a", 3, 1, 0x81, 3, 0) + bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    control = bytes([0x21, 0xF9, 4, int(transparent), 0, 0, 0, 0])
    frame = b"," + struct.pack("<HHHHB", corner, 0, 2, 1, 0) + bytes([2, 2, 0b10_001_100, 0b1010, 0])
    return screen + control + frame + b";"


# --- PNG ---


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "shown"),
    [
        (1, [0b1000_0000], 0, [255, 255]),
        (1, [0b1000_0000], 1, [255, 0]),
        (2, [0b0001_1011], 1, [0, 255, 170, 255]),
        (4, [0x02, 0x4F], 2, [0, 255, 68, 255]),
        (8, [0, 2, 34, 255], 2, [0, 255, 34, 255]),
    ],
)
def test_a_transparent_grey_of_few_bits_is_that_grey(
    depth: int, row: list[int], transparent: int, shown: list[int], tmp_path: Path
) -> None:
    """Pillow stretches the pixels to 0 to 255, and compares them with the colour as it is in the file."""
    content = png(len(shown), 1, depth, 0, bytes([0, *row]), chunk(b"tRNS", struct.pack(">H", transparent)))
    if set(shown) == {255}:
        refused(content, "transparent or white all over", tmp_path)
    else:
        assert read(content, tmp_path).tolist() == [shown]


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    rows = bytes([0]) + struct.pack(">6H", 0x1234, 0x2200, 0x4400, 0x1299, 0x2200, 0x4400)
    content = png(2, 1, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x2200, 0x4400)))
    refused(content, "transparent colour of 16 bits a channel", tmp_path)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("depth", "colour", "channels"), [(8, 0, 1), (2, 0, 1), (8, 6, 4), (16, 2, 3)])
def test_a_png_with_missing_rows_is_refused(
    depth: int, colour: int, channels: int, interlaced: int, tmp_path: Path
) -> None:
    """Pillow leaves them black."""
    whole = pixels_of_png(7, 5, depth * channels, interlaced)

    def content(length: int) -> bytes:
        header = struct.pack(">IIBBBBB", 7, 5, depth, colour, 0, 0, interlaced)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(length))) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    refused(content(whole - 1), f"damaged .{whole - 1} of {whole} bytes of pixels", tmp_path)
    refused(content(0), "damaged", tmp_path)
    if channels < 4:  # with alpha it is transparent all over
        assert not read(content(whole), tmp_path).any()
        assert not read(content(whole + 9), tmp_path).any()


def pixels_of_png(width: int, height: int, bits: int, interlaced: int) -> int:
    """The number of pixel bytes, with one filter byte per row, counted pixel by pixel."""
    adam7 = ["16462646", "7" * 8, "56" * 4, "7" * 8, "36463646", "7" * 8, "56" * 4, "7" * 8]
    rows: dict[tuple[str, int], int] = {}
    for y in range(height):
        for x in range(width):
            group = (adam7[y % 8][x % 8] if interlaced else "", y)
            rows[group] = rows.get(group, 0) + bits
    return sum(1 + -(-length // 8) for length in rows.values())


def test_every_flipped_bit_of_a_png_is_found(tmp_path: Path) -> None:
    """Pillow does not compare the checksum of the pixels: 26 of 400 flips gave another picture."""
    content = saved(Image.fromarray(np.kron(GREY[:2, :2], np.ones((8, 8), np.uint8))))
    for bit in range(0, 8 * len(content), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged), "damaged", tmp_path)


def test_a_png_that_ends_early_is_refused(tmp_path: Path) -> None:
    content = saved(Image.fromarray(np.kron(GREY[:2, :2], np.ones((8, 8), np.uint8))))
    for length in range(1, len(content)):
        refused(content[:length], "damaged", tmp_path)


# --- TIFF ---


def test_separate_channels_are_put_together(tmp_path: Path) -> None:
    content = tiff(2, 1, PLAIN_RGB | {284: (2,)}, [b"\1\2", b"\3\4", b"\5\6"])
    assert read(content, tmp_path).tolist() == [[[1, 3, 5], [2, 4, 6]]]


def test_separate_channels_of_16_bits_are_refused(tmp_path: Path) -> None:
    """Pillow reads them as 8 bits, so that every second pixel is a low byte; tifffile writes (3, H, W) so."""
    planes = [struct.pack("<2H", 256 * first, 256 * first + 256) for first in (1, 3, 5)]
    content = tiff(2, 1, PLAIN_RGB | {258: (16, 16, 16), 284: (2,)}, planes)
    refused(content, "separate channels of more than 8 bits", tmp_path)


@pytest.mark.parametrize(
    ("tags", "strips"),
    [
        ({258: (8,), 262: (1,), 277: (1,)}, [b"\1\2"]),
        ({258: (8,), 262: (1,), 277: (1,)}, [b"\1\2", b"\3\4", b"\5\6"]),
        ({284: (2,), 278: (4,)}, [bytes(8), bytes(8)]),
    ],
)
def test_a_tiff_with_missing_strips_is_refused(tags: Tags, strips: list[bytes], tmp_path: Path) -> None:
    refused(tiff(2, 4, PLAIN_RGB | tags, strips), "damaged .strips of pixels are missing", tmp_path)


@pytest.mark.parametrize(
    ("tags", "strip", "reason"),
    [
        ({258: (8,), 262: (3,), 277: (1,), 320: (16, 32) + (0,) * 766}, b"\0\1", "palette of 8 bits a channel"),
        ({258: (8,) * 4, 262: (5,), 277: (4,), 332: (2,)}, bytes(8), "inks that are not CMYK"),
        ({262: (6,), 530: (1, 1), 532: (16, 235, 128, 240, 128, 240)}, bytes(6), "black and white at values of its"),
        ({258: (8,), 262: (1,), 277: (1,), 339: (2,)}, b"\0\1", "signed pixels|damaged"),
    ],
)
def test_tags_that_change_what_a_tiff_looks_like_are_refused(
    tags: Tags, strip: bytes, reason: str, tmp_path: Path
) -> None:
    refused(tiff(2, 1, PLAIN_RGB | tags, [strip]), reason, tmp_path)


def test_a_palette_as_tiff_defines_it_is_read(tmp_path: Path) -> None:
    palette = (0x1000, 0x4000) + (0,) * 254 + (0x2000,) * 256 + (0x3000,) * 256
    content = tiff(2, 1, PLAIN_RGB | {258: (8,), 262: (3,), 277: (1,), 320: palette}, [b"\0\1"])
    assert read(content, tmp_path).tolist() == [[[0x10, 0x20, 0x30], [0x40, 0x20, 0x30]]]


def test_uncompressed_ycbcr_is_read_right_or_refused(tmp_path: Path) -> None:
    """Pillow 12 takes it for RGB with a fourth channel, and reads on in the bytes after the pixels."""
    whole = {262: (6,), 530: (1, 1), 532: (0, 255, 128, 255, 128, 255)}
    content = tiff(2, 2, PLAIN_RGB | whole | {278: (2,)}, [b"\x90\x80\x80" * 4]) + bytes(16)
    if READS_YCBCR:
        assert read(content, tmp_path).tolist() == [[[0x90] * 3] * 2] * 2
    else:
        refused(content, "uncompressed YCbCr.*update Pillow", tmp_path)


# --- GIF ---


def test_a_gif_whose_frame_covers_only_a_part_is_refused(tmp_path: Path) -> None:
    """Browsers leave the rest transparent, and Pillow gives it a colour of the palette."""
    refused(gif(1, transparent=False), "a frame that covers only a part of it", tmp_path)


def test_a_gif_whose_frame_is_cropped_to_what_is_not_transparent_lies_on_white(tmp_path: Path) -> None:
    assert read(gif(1, transparent=True), tmp_path).tolist() == [[[255, 255, 255], [255, 0, 0], [0, 255, 0]]]

"""Checks that Pillow does not make on a PNG: the CRC of its pixels, and that every row has pixels.

Without these checks, a damaged file would become another picture, and missing rows would be black (PNG specification,
sections 5 and 10).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
PASSES = (  # of Adam7: first column, first row, and the distances between columns and rows
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
PIECE = 1 << 16  # bytes that are unpacked at a time, so that the pixels are never all in memory


def check_png(content: bytes) -> None:
    """Read every chunk of a PNG and count its pixels.

    Raises:
        ValueError: a checksum is wrong, or pixels are missing.
    """
    packed: list[memoryview] = []
    wanted = 0
    for number, (kind, data) in enumerate(png_chunks(content)):
        if kind == b"IHDR":
            if number:
                raise ValueError("a second header")
            wanted = bytes_of_pixels(data)
        elif kind == b"IDAT":
            packed.append(data)
    found = unpacked_length(packed, wanted)
    if found < wanted:
        raise ValueError(f"{found:,} of {wanted:,} bytes of pixels")


def png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The kind and data of every chunk up to the end mark; raises ValueError for a wrong checksum or a cut chunk."""
    view, at = memoryview(content), len(SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise ValueError("a wrong checksum")
        yield kind, view[at + 8 : end]
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError("no end mark")


def bytes_of_pixels(header: memoryview) -> int:
    """The number of bytes of the unpacked pixels, including the filter byte of every row."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * CHANNELS[colour]
    total = 0
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def unpacked_length(packed: list[memoryview], most: int) -> int:
    """The number of bytes that `packed` unpacks to, counted no further than `most`."""
    unpacker, found = zlib.decompressobj(), 0
    for piece in packed:
        rest: bytes | memoryview = piece
        while found < most and not unpacker.eof:
            unpacked = unpacker.decompress(rest, PIECE)
            found += len(unpacked)
            rest = unpacker.unconsumed_tail
            if not rest and len(unpacked) < PIECE:
                break
    return found

"""The position of every byte of a prepared data set, computed before any image is decoded.

The file has the safetensors format (github.com/huggingface/safetensors, "Format"). Eight bytes contain the length of
the header (little-endian). Then comes the header, which is JSON, padded with spaces to a multiple of eight. The tensors
follow without gaps, wider elements first, then by name. The safetensors library itself needs all tensors in memory to
write a file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ssmlab.data.header import METADATA_KEY, SPLITS, TENSOR_KINDS, Description, PartName, description_text

WIDTH = {"U8": 1, "I64": 8}  # bytes per element


@dataclass(frozen=True)
class Extent:
    """A tensor's place: `size` bytes from `start`, counted from the beginning of the first tensor or of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * WIDTH[self.dtype]


def tensor_extents(image_shape: tuple[int, int, int], sizes: Mapping[PartName, int]) -> dict[str, Extent]:
    """The places of all tensors by name (`train.images`), in the order of the file.

    Args:
        image_shape: (C, H, W); sizes: how many images each split has.
    """
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for split in SPLITS:
        for part, (dtype, _) in TENSOR_KINDS.items():
            shapes[f"{split}.{part}"] = (dtype, (sizes[split], *(image_shape if part == "images" else ())))
    extents, end = {}, 0
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-WIDTH[item[1][0]], item[0])):
        extents[name] = Extent(dtype, shape, end)
        end += extents[name].size
    return extents


def encode_header(description: Description, extents: Mapping[str, Extent]) -> bytes:
    """Everything before the tensors. Its length does not depend on the fingerprint, so it can be written last."""
    first = min(extent.start for extent in extents.values())
    header: dict[str, object] = {"__metadata__": {METADATA_KEY: description_text(description)}}
    for name, extent in extents.items():
        header[name] = {
            "dtype": extent.dtype,
            "shape": extent.shape,
            "data_offsets": (extent.start - first, extent.start - first + extent.size),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text + b" " * (-len(text) % 8)
    return struct.pack("<Q", len(padded)) + padded

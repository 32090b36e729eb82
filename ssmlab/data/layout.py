"""Where every byte of a prepared data set lies, known before a single image is decoded.

This is the safetensors format (github.com/huggingface/safetensors, "Format"), of which the library itself can only
write tensors that are all in memory: eight bytes with the length of the header (little-endian); the header, JSON padded
with spaces to a multiple of eight; the tensors without gaps, those of wider elements first and else by name.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ssmlab.data.source import PartName
from ssmlab.data.summary import LAYOUT, METADATA_KEY, SPLITS, Description
from ssmlab.files import canonical_json

WIDTH = {"U8": 1, "I64": 8}  # bytes an element


@dataclass(frozen=True)
class Place:
    """A tensor's place: `size` bytes from `start`, counted from wherever the first tensor starts."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * WIDTH[self.dtype]


def places_of(image_shape: tuple[int, int, int], sizes: Mapping[PartName, int]) -> dict[str, Place]:
    """The places of all tensors by name (`train.images`), in the order of the file.

    Args:
        image_shape: (C, H, W); sizes: how many images each split has.
    """
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for split in SPLITS:
        for part, (dtype, _) in LAYOUT.items():
            shapes[f"{split}.{part}"] = (dtype, (sizes[split], *(image_shape if part == "images" else ())))
    places, end = {}, 0
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-WIDTH[item[1][0]], item[0])):
        places[name] = Place(dtype, shape, end)
        end += places[name].size
    return places


def header_of(about: Description, places: Mapping[str, Place]) -> bytes:
    """All that comes before the tensors. Its length is the same whatever the fingerprint, so it can be written last."""
    first = min(place.start for place in places.values())
    header: dict[str, object] = {"__metadata__": {METADATA_KEY: canonical_json(about.model_dump(mode="json"))}}
    for name, place in places.items():
        header[name] = {
            "dtype": place.dtype,
            "shape": place.shape,
            "data_offsets": (place.start - first, place.start - first + place.size),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text + b" " * (-len(text) % 8)
    return struct.pack("<Q", len(padded)) + padded

"""What a format recognises in a folder or an archive, before images are selected or scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ssmlab.data.header import PartName
from ssmlab.ingest.source import Part
from ssmlab.ingest.unpack import ByteRange

LayoutName = Literal["mnist5k", "idx", "cifar", "tiny-imagenet", "npz", "image-folder"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Labelled images in a known layout.

    Attributes:
        name: the layout.
        kind: suffix for the name of a re-encoded data set: `jpeg`, `png`, `mixed`, or the layout.
        class_names: () if the layout gives none.
        image_shape: (C, H, W); None if every image is a file with its own shape; all parts then have `EncodedImages`.
        parts: at least `train`.
        files: the unpacked files of the parts by their official names; empty for layouts with many files.
    """

    name: LayoutName
    kind: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    parts: Mapping[PartName, Part]
    files: Mapping[str, ByteRange] = field(default_factory=dict)

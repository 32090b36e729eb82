"""What a format finds in a folder or an archive, before anything is selected or scaled."""

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
        name: which one.
        kind: what the name of a re-encoded data set ends in: `jpeg`, `png`, `mixed`, or the layout.
        class_names: () where the layout gives none.
        image_shape: (C, H, W); None where every image is a file that may have any, with `EncodedImages` in all parts.
        parts: `train` at least.
        files: where the files lie that hold the parts, unpacked, by their official names; none where they are many.
    """

    name: LayoutName
    kind: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    parts: Mapping[PartName, Part]
    files: Mapping[str, ByteRange] = field(default_factory=dict)

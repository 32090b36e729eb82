"""The common form of all formats: labelled images in up to three parts, decoded only when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ssmlab.data.header import DataProvenance, PartName


class ImageReader(Protocol):
    """The images of a part. Readers can be pickled, so that worker processes can decode images."""

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,) as (n, C, H, W) uint8; raises UserError with the name of a damaged file."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images that need no decoding: (N, C, H, W) uint8, in memory or memory-mapped."""

    array: npt.NDArray[np.uint8]

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8."""
        taken: npt.NDArray[np.uint8] = self.array[rows]
        return taken


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled images as they were published, in the publisher's order.

    Attributes:
        labels: (N,) int64, in [0, classes).
        images: reads the N images.
        encoded: whether reading means decoding files, so that several processes are faster.
    """

    labels: npt.NDArray[np.int64]
    images: ImageReader
    encoded: bool = False

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set that has been found and checked, and not yet split.

    Attributes:
        name: under which results on it may be published. It differs from `data.name` if the content is not the
            publisher's: `cifar10-jpeg` for CIFAR-10 re-encoded as JPEG.
        description: where the images come from and what was checked, in words, for the report.
        provenance: `official` (the publisher's complete content), `partial` (the publisher's layout with fewer images),
            `re-encoded` (a known data set in another encoding), `own` (anything else).
        class_names: one per class, in the order of the labels.
        image_shape: (C, H, W).
        parts: at least `train`. Rows of a source are counted through train, then validation, then test.
    """

    name: str
    description: str
    provenance: DataProvenance
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    parts: Mapping[PartName, Part]

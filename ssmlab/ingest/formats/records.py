"""Images that lie as plain bytes in files, at equal distances: IDX, CIFAR, NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssmlab.ingest.unpack import Place, changed


@dataclass(frozen=True, eq=False)
class RecordImages:
    """Images without encoding, read from where they lie through a memory map.

    Attributes:
        places: one behind the other, each with whole records.
        image_shape: (C, H, W).
        skip: bytes in front of the pixels of each record.
        channels_last: whether a record's pixels are (H, W, C).
    """

    places: tuple[Place, ...]
    image_shape: tuple[int, int, int]
    skip: int = 0
    channels_last: bool = False

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return self.skip + int(np.prod(self.image_shape))

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8."""
        channels, height, width = self.image_shape
        shape = (len(rows), height, width, channels) if self.channels_last else (len(rows), *self.image_shape)
        pixels = np.empty((len(rows), self.record - self.skip), np.uint8)
        first = 0
        for place in self.places:
            count = place.length // self.record
            here = np.flatnonzero((first <= rows) & (rows < first + count))
            if len(here):
                pixels[here] = mapped(place, self.record)[rows[here] - first, self.skip :]
            first += count
        images = pixels.reshape(shape)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if self.channels_last else images  # (n, C, H, W)

    def __len__(self) -> int:
        return sum(place.length // self.record for place in self.places)


def mapped(place: Place, record: int) -> npt.NDArray[np.uint8]:
    """The bytes of a place as (records, record) uint8, memory-mapped; raises UserError if the file is not as it was."""
    try:
        return np.memmap(place.path, np.uint8, "r", place.offset, (place.length // record, record))
    except (OSError, ValueError):
        raise changed(place.path) from None

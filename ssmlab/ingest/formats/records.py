"""Images stored as plain bytes in records of equal size: IDX, CIFAR, NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssmlab.ingest.unpack import ByteRange, changed_error, read_error


@dataclass(frozen=True, eq=False)
class RecordImages:
    """Images without encoding, read in place through a memory map.

    Attributes:
        files: in order; each holds a whole number of records.
        image_shape: (C, H, W).
        skip: number of bytes before the pixels in each record.
        channels_last: whether a record's pixels are stored as (H, W, C).
    """

    files: tuple[ByteRange, ...]
    image_shape: tuple[int, int, int]
    skip: int = 0
    channels_last: bool = False

    @property
    def record_size(self) -> int:
        """Bytes of a record."""
        return self.skip + int(np.prod(self.image_shape))

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8."""
        channels, height, width = self.image_shape
        shape = (len(rows), height, width, channels) if self.channels_last else (len(rows), *self.image_shape)
        pixels = np.empty((len(rows), self.record_size - self.skip), np.uint8)
        first = 0
        for file in self.files:
            count = file.length // self.record_size
            here = np.flatnonzero((first <= rows) & (rows < first + count))
            if len(here):
                pixels[here] = map_records(file, self.record_size)[rows[here] - first, self.skip :]
            first += count
        images = pixels.reshape(shape)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if self.channels_last else images  # (n, C, H, W)

    def __len__(self) -> int:
        return sum(file.length // self.record_size for file in self.files)


def map_records(file: ByteRange, record: int) -> npt.NDArray[np.uint8]:
    """The bytes of a file as (records, record) uint8, memory-mapped; raises UserError if the file has changed."""
    try:
        return np.memmap(file.path, np.uint8, "r", file.offset, (file.length // record, record))
    except OSError as error:
        raise read_error(file.path, error) from None
    except ValueError:  # it has become shorter
        raise changed_error(file.path) from None

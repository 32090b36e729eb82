"""Decode images and write each to its place in a file, in one or several processes. Nothing here loads torch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssmlab.core.events import Listener, Note
from ssmlab.core.progress import ProgressMeter
from ssmlab.data.header import PartName
from ssmlab.ingest.source import ImageReader
from ssmlab.system.cores import cores
from ssmlab.system.workers import NoPool, run_in_processes

CHUNK_IMAGES = 512  # at most
CHUNK_BYTES = 8 << 20  # at most, unless a single image is larger

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """What all chunks have in common.

    Attributes:
        file: the target, which already has its full length.
        images: the reader of each part of the source; it gives uint8 images of `image_shape` (C, H, W).
    """

    file: Path
    images: Mapping[PartName, ImageReader]
    image_shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class DecodeChunk:
    """Some images of a part, and where in the file they go.

    Attributes:
        rows: (n,) ascending row numbers in the part, the order in which archives are read fastest.
        offsets: (n,) for each image the byte at which it begins in the file.
    """

    part: PartName
    rows: RowNumbers
    offsets: RowNumbers

    def __len__(self) -> int:
        return len(self.rows)


def plan_chunks(parts: Mapping[PartName, int], rows: RowNumbers, offsets: RowNumbers, size: int) -> list[DecodeChunk]:
    """Cut the work into chunks.

    Args:
        parts: the number of images of each part; rows of the source are counted through the parts in this order.
        rows: (n,) wanted rows of the source, in any order; offsets: (n,) where each goes.
        size: bytes per image.
    """
    images_per_chunk = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // size))
    order = np.argsort(rows)
    rows, offsets = rows[order], offsets[order]
    chunks, before = [], 0
    for part, count in parts.items():
        first, last = np.searchsorted(rows, [before, before + count])
        for start in range(first, last, images_per_chunk):
            chunk = slice(start, min(start + images_per_chunk, last))
            chunks.append(DecodeChunk(part, rows[chunk] - before, offsets[chunk]))
        before += count
    return chunks


def decode_all(job: DecodeJob, chunks: Sequence[DecodeChunk], processes: int | None, listen: Listener) -> None:
    """Decode the images of all chunks and write them to their places.

    Args:
        processes: how many share the work; None uses one for each processor.

    Raises:
        UserError: an image is damaged, or a worker died.
        OSError: the file cannot be written.
    """
    # the time that worker processes need to start must not count as decoding time
    meter = ProgressMeter(sum(map(len, chunks)), from_first_step=True)

    def done(images: int) -> None:
        meter.advance(images)
        meter.report(listen, "decode", images=True)

    meter.report(listen, "decode", images=True)

    processes = min(processes or cores(), len(chunks))
    if processes > 1:
        try:
            remedy = "run `ssmlab prepare` again"
            run_in_processes(make_decoder, job, chunks, processes, done, remedy=remedy, folder=job.file.parent)
            return
        except NoPool as error:
            listen(Note(f"no worker processes ({error}); decoding in this one, which takes longer", warning=True))
    for chunk in chunks:
        done(decode_chunk(job, chunk))


def make_decoder(job: DecodeJob) -> Callable[[DecodeChunk], int]:
    """The function that a worker process applies to chunks."""
    return functools.partial(decode_chunk, job)


def decode_chunk(job: DecodeJob, chunk: DecodeChunk) -> int:
    """Read the images of a chunk and write each to its place; returns the number of images.

    Raises:
        UserError: an image is damaged.
        OSError: the file cannot be written.
        ValueError: the source breaks its contract.
    """
    images = np.ascontiguousarray(job.images[chunk.part].read(chunk.rows))  # (n, C, H, W)
    if images.dtype != np.uint8 or images.shape != (len(chunk), *job.image_shape):
        raise ValueError(f"{len(chunk)} images of {job.image_shape} are {images.dtype} {images.shape}")
    descriptor = os.open(job.file, os.O_WRONLY)
    try:
        for image, offset in zip(images.reshape(len(chunk), -1), chunk.offsets.tolist(), strict=True):
            write_at(descriptor, image.data, offset)
    finally:
        os.close(descriptor)
    return len(chunk)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` (bytes) at `offset`; the system may take it in pieces."""
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], offset + written)

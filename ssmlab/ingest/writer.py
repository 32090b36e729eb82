"""From a source to a prepared data set that need not fit in memory: header, labels, then each image in its place."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.files import sync_folder
from ssmlab.data.fingerprint import fingerprint
from ssmlab.data.header import SPLITS, TENSOR_KINDS, Description, PartName
from ssmlab.ingest.decode import DecodeJob, decode_all, plan_chunks, write_at
from ssmlab.ingest.progress import Countdown
from ssmlab.ingest.safetensors_file import Extent, encode_header, tensor_extents
from ssmlab.ingest.source import Source
from ssmlab.ingest.splits import Rows

TORCH_DTYPES = {"U8": "torch.uint8", "I64": "torch.int64"}
PIECE = 4 << 20  # bytes that are read at once


def write_dataset(
    path: Path,
    source: Source,
    rows: Mapping[PartName, Rows],
    seed: int,
    workdir: Path,
    *,
    processes: int | None = None,
    listen: Listener = silence,
) -> Description:
    """Write the splits `rows` of `source` to `path`, atomically; the same bytes as `save_dataset` of the same content.

    Args:
        rows: each split's rows (N,) of the source, counted through its parts train, validation, test.
        seed: what they were drawn with.
        workdir: a folder on the disk of `path`, where the file is made.
        processes: how many decode, where images are files; None takes as many as there are processors.

    Returns:
        what the data set says of itself.

    Raises:
        UserError: an image is damaged, or the file cannot be written; what was there before is then untouched.
    """
    kept = "what was there before is untouched"
    try:
        file = workdir / "prepared.safetensors"
        description = write_file(file, source, rows, seed, processes, listen)
        file.replace(path)
        kept = "the new file is there, but a power cut could still undo it"
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); {kept}") from error
    return description


def write_file(
    file: Path, source: Source, rows: Mapping[PartName, Rows], seed: int, processes: int | None, listen: Listener
) -> Description:
    """Make `file`, whole and synced; its description, and so its fingerprint, comes last."""
    description = Description(
        name=source.name,
        source=source.description,
        provenance=source.provenance,
        class_names=source.class_names,
        seed=seed,
        fingerprint="0" * 64,
    )
    extents = tensor_extents(source.image_shape, {split: len(rows[split]) for split in SPLITS})
    header = len(encode_header(description, extents))
    extents = {name: replace(extent, start=header + extent.start) for name, extent in extents.items()}
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        allocate(descriptor, header + sum(extent.size for extent in extents.values()))
        write_rows(descriptor, extents, source, rows)
        decode_images(file, extents, source, rows, processes, listen)
        description = description.model_copy(
            update={"fingerprint": fingerprint(read_tensors(descriptor, extents, listen))}
        )
        write_at(descriptor, encode_header(description, extents), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return description


def allocate(descriptor: int, size: int) -> None:
    """Give a file its length and, where the system can, its room on the disk: a full one is found out at once."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def write_rows(descriptor: int, extents: Mapping[str, Extent], source: Source, rows: Mapping[PartName, Rows]) -> None:
    """Write the labels and the indices of all splits."""
    labels = np.concatenate([source.parts[part].labels for part in SPLITS if part in source.parts])
    for split in SPLITS:
        for name, values in (("labels", labels[rows[split]]), ("indices", rows[split])):
            write_at(descriptor, values.astype("<i8").tobytes(), extents[f"{split}.{name}"].start)


def decode_images(
    file: Path,
    extents: Mapping[str, Extent],
    source: Source,
    rows: Mapping[PartName, Rows],
    processes: int | None,
    listen: Listener,
) -> None:
    """Put the images of all splits in their places; those that need no decoding, in this process."""
    parts = {name: source.parts[name] for name in SPLITS if name in source.parts}
    size = math.prod(source.image_shape)
    chunks = plan_chunks(
        {name: len(part) for name, part in parts.items()},
        np.concatenate([rows[split] for split in SPLITS]),
        np.concatenate([extents[f"{split}.images"].start + size * np.arange(len(rows[split])) for split in SPLITS]),
        size,
    )
    job = DecodeJob(file, {name: part.images for name, part in parts.items()}, source.image_shape)
    decode_all(job, chunks, processes if any(part.encoded for part in parts.values()) else 1, listen)


def read_tensors(
    descriptor: int, extents: Mapping[str, Extent], listen: Listener
) -> Iterator[tuple[str, str, tuple[int, ...], Iterable[bytes]]]:
    """The tensors of an open file as `fingerprint` takes them."""
    watch = Countdown("fingerprint (MiB)", sum(extent.size for extent in extents.values()) >> 20, listen)
    read = 0

    def pieces(extent: Extent) -> Iterator[bytes]:
        nonlocal read
        end = extent.start + extent.size
        for offset in range(extent.start, end, PIECE):
            piece = os.pread(descriptor, min(PIECE, end - offset), offset)
            read += len(piece)
            yield piece
            watch.at(read >> 20)

    for split in SPLITS:
        for part in TENSOR_KINDS:
            extent = extents[f"{split}.{part}"]
            yield f"{split}.{part}", TORCH_DTYPES[extent.dtype], extent.shape, pieces(extent)

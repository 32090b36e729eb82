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
from ssmlab.data.header import LAYOUT, SPLITS, Description, PartName
from ssmlab.ingest.decode import Canvas, chunks_of, decode, write_at
from ssmlab.ingest.layout import Extent, extents_of, header_of
from ssmlab.ingest.progress import Countdown
from ssmlab.ingest.source import Source
from ssmlab.ingest.splits import Rows

TORCH_NAMES = {"U8": "torch.uint8", "I64": "torch.int64"}
PIECE = 4 << 20  # bytes that are read at once


def write_dataset(
    path: Path,
    source: Source,
    rows: Mapping[PartName, Rows],
    seed: int,
    scratch: Path,
    *,
    processes: int | None = None,
    listen: Listener = silence,
) -> Description:
    """Write the splits `rows` of `source` to `path`, atomically; the same bytes as `save_dataset` of the same content.

    Args:
        rows: each split's rows (N,) of the source, counted through its parts train, validation, test.
        seed: what they were drawn with.
        scratch: a folder on the disk of `path`, where the file is made.
        processes: how many decode, where images are files; None takes as many as there are processors.

    Returns:
        what the data set says of itself.

    Raises:
        UserError: an image is damaged, or the file cannot be written; what was there before is then untouched.
    """
    kept = "what was there before is untouched"
    try:
        file = scratch / "prepared.safetensors"
        about = fill(file, source, rows, seed, processes, listen)
        file.replace(path)
        kept = "the new file is there, but a power cut could still undo it"
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); {kept}") from error
    return about


def fill(
    file: Path, source: Source, rows: Mapping[PartName, Rows], seed: int, processes: int | None, listen: Listener
) -> Description:
    """Make `file`, whole and synced; its description, and so its fingerprint, comes last."""
    about = Description(
        name=source.name,
        source=source.description,
        provenance=source.provenance,
        class_names=source.class_names,
        seed=seed,
        fingerprint="0" * 64,
    )
    extents = extents_of(source.image_shape, {split: len(rows[split]) for split in SPLITS})
    header = len(header_of(about, extents))
    extents = {name: replace(extent, start=header + extent.start) for name, extent in extents.items()}
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        allocate(descriptor, header + sum(extent.size for extent in extents.values()))
        write_rows(descriptor, extents, source, rows)
        decode_images(file, extents, source, rows, processes, listen)
        about = about.model_copy(update={"fingerprint": fingerprint(tensors_in(descriptor, extents, listen))})
        write_at(descriptor, header_of(about, extents), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return about


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
    chunks = chunks_of(
        {name: len(part) for name, part in parts.items()},
        np.concatenate([rows[split] for split in SPLITS]),
        np.concatenate([extents[f"{split}.images"].start + size * np.arange(len(rows[split])) for split in SPLITS]),
        size,
    )
    canvas = Canvas(file, {name: part.images for name, part in parts.items()}, source.image_shape)
    decode(canvas, chunks, processes if any(part.encoded for part in parts.values()) else 1, listen)


def tensors_in(
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
        for part in LAYOUT:
            extent = extents[f"{split}.{part}"]
            yield f"{split}.{part}", TORCH_NAMES[extent.dtype], extent.shape, pieces(extent)

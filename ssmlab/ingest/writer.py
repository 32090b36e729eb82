"""Writing a prepared data set that may be larger than memory: header, labels, then each image at its position."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.files import sync_folder
from ssmlab.core.progress import ProgressMeter
from ssmlab.data.fingerprint import fingerprint
from ssmlab.data.header import SPLITS, TENSOR_KINDS, Description, LabelNoise, PartName
from ssmlab.ingest.decode import DecodeJob, decode_all, plan_chunks, write_at
from ssmlab.ingest.label_noise import add_label_noise
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
    noise: tuple[float, int] = (0.0, 0),
    processes: int | None = None,
    listen: Listener = silence,
) -> Description:
    """Write the splits `rows` of `source` to `path`, atomically; the bytes are those that `save_dataset` writes.

    Args:
        rows: each split's rows (N,) of the source, counted through its parts train, validation, test.
        seed: the seed that the rows were drawn with.
        workdir: a folder on the disk of `path`, where the file is made.
        noise: the fraction of the training labels to make wrong, and the seed for drawing them.
        processes: how many decode image files; None uses one for each processor.

    Returns:
        the description in the file.

    Raises:
        UserError: an image is damaged, or the file cannot be written; any earlier file is then unchanged.
    """
    labels = split_labels(source, rows)
    description = Description(
        name=source.name,
        source=source.description,
        provenance=source.provenance,
        class_names=source.class_names,
        seed=seed,
        fingerprint="0" * 64,
    )
    if noise[0] > 0:
        labels["train"], description = apply_noise(labels["train"], description, *noise)
    kept = "any earlier file is unchanged"
    try:
        file = workdir / "prepared.safetensors"
        description = write_file(file, source, rows, labels, description, processes, listen)
        file.replace(path)
        kept = "the new file is there, but a power cut could still undo it"
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{cannot(path, 'written', error)}; {kept}") from error
    return description


def split_labels(source: Source, rows: Mapping[PartName, Rows]) -> dict[PartName, Rows]:
    """The labels (N,) of each split."""
    labels = np.concatenate([source.parts[part].labels for part in SPLITS if part in source.parts])
    return {split: labels[rows[split]] for split in SPLITS}


def apply_noise(labels: Rows, description: Description, fraction: float, seed: int) -> tuple[Rows, Description]:
    """The training labels (N,) with label noise, and a description whose name and text say so."""
    noisy = add_label_noise(labels, description.classes, fraction, seed)
    changed = int((noisy != labels).sum())
    said = (
        f"{changed:,} of {len(labels):,} training labels are wrong on purpose (label noise {fraction:g}, seed {seed})"
    )
    update = {
        "name": f"{description.name}-noise{fraction:g}",
        "source": f"{description.source}; {said}",
        "label_noise": LabelNoise(fraction=fraction, seed=seed, changed=changed),
    }
    return noisy, description.model_copy(update=update)


def write_file(
    file: Path,
    source: Source,
    rows: Mapping[PartName, Rows],
    labels: Mapping[PartName, Rows],
    description: Description,
    processes: int | None,
    listen: Listener,
) -> Description:
    """Write `file` completely and sync it; the description comes last, when the fingerprint is known."""
    extents = tensor_extents(source.image_shape, {split: len(rows[split]) for split in SPLITS})
    header = len(encode_header(description, extents))
    extents = {name: replace(extent, start=header + extent.start) for name, extent in extents.items()}
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        allocate(descriptor, header + sum(extent.size for extent in extents.values()))
        for split in SPLITS:
            for name, values in (("labels", labels[split]), ("indices", rows[split])):
                write_at(descriptor, values.astype("<i8").tobytes(), extents[f"{split}.{name}"].start)
        decode_images(file, extents, source, rows, processes, listen)
        content = fingerprint(read_tensors(descriptor, extents, listen))
        description = description.model_copy(update={"fingerprint": content})
        write_at(descriptor, encode_header(description, extents), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return description


def allocate(descriptor: int, size: int) -> None:
    """Set a file's length and, if the system can, reserve its disk space, so that a full disk is found at once."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def decode_images(
    file: Path,
    extents: Mapping[str, Extent],
    source: Source,
    rows: Mapping[PartName, Rows],
    processes: int | None,
    listen: Listener,
) -> None:
    """Write the images of all splits to their positions; images that need no decoding are copied in this process."""
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
    """The tensors of an open file in the form that `fingerprint` takes."""
    meter = ProgressMeter(sum(extent.size for extent in extents.values()) / 2**20, from_first_step=True)

    def pieces(extent: Extent) -> Iterator[bytes]:
        end = extent.start + extent.size
        for offset in range(extent.start, end, PIECE):
            piece = os.pread(descriptor, min(PIECE, end - offset), offset)
            yield piece
            meter.advance(len(piece) / 2**20)
            meter.report(listen, "fingerprint (MiB)")

    for split in SPLITS:
        for part in TENSOR_KINDS:
            extent = extents[f"{split}.{part}"]
            yield f"{split}.{part}", TORCH_DTYPES[extent.dtype], extent.shape, pieces(extent)

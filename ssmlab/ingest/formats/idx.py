"""IDX, the format of MNIST: a big-endian header, then bytes (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.records import RecordImages
from ssmlab.ingest.source import Part
from ssmlab.ingest.unpack import ByteRange

PREFIXES: dict[str, PartName] = {"train": "train", "t10k": "test", "test": "test"}
UNSIGNED_BYTES = 0x08


def detect(members: Members) -> Layout | None:
    """MNIST's layout: images and labels of `train`, and of `t10k` or `test`; None if no such file exists.

    Raises:
        UserError: a file is missing, damaged, or does not fit the others.
    """
    parts: dict[PartName, Part] = {}
    files: dict[str, ByteRange] = {}
    for prefix, part in PREFIXES.items():
        names = {what: f"{prefix}-{what}-idx{axes}-ubyte" for what, axes in (("images", 3), ("labels", 1))}
        found = {what: file for what, name in names.items() if (file := find_idx_file(members, name)) is not None}
        if not found:
            continue
        members.require_few_files("IDX")
        if len(found) == 1:
            alone = next(iter(found.values()))
            raise members.error(
                alone.name, "comes without its labels" if "images" in found else "comes without its images"
            )
        if part in parts:
            raise members.error(names["images"], "is a second test part beside t10k")
        parts[part] = read_part(members, found["images"], found["labels"])
        files |= {names[what]: found[what] for what in found}
    if not parts:
        return None
    if "train" not in parts:
        raise members.error(next(iter(files)), "comes without train-images-idx3-ubyte and train-labels-idx1-ubyte")
    shapes = {part.images.image_shape for part in parts.values() if isinstance(part.images, RecordImages)}
    if len(shapes) > 1:
        raise members.error(list(files)[2], "its images have another shape than those of the training part")
    return Layout("idx", "idx", (), shapes.pop(), parts, files)


def find_idx_file(members: Members, name: str) -> ByteRange | None:
    """A file under its official name, or with a dot before `idx`, as some unpackers write it."""
    return members.find(name) or members.find(name.replace("-idx", ".idx"))


def read_part(members: Members, images: ByteRange, labels: ByteRange) -> Part:
    """One part from its two files; raises UserError if they do not fit each other."""
    (count, height, width), pixels = read_header(members, images, 3)
    (labelled,), numbers = read_header(members, labels, 1)
    if count != labelled:
        raise members.error(images.name, f"has {count:,} images, but {labels.name} has {labelled:,} labels")
    found: npt.NDArray[np.int64] = np.frombuffer(members.content(numbers), np.uint8).astype(np.int64)
    return Part(found, RecordImages((pixels,), (1, height, width)))


def read_header(members: Members, file: ByteRange, axes: int) -> tuple[tuple[int, ...], ByteRange]:
    """The shape that an IDX file declares, and its data; raises UserError if it is not a complete IDX file."""
    start = 4 + 4 * axes
    header = replace(file, length=min(start, file.length)).read()
    if header[:4] != bytes((0, 0, UNSIGNED_BYTES, axes)) or len(header) < start:
        raise members.error(file.name, f"is not an IDX file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", header[4:])
    size = int(np.prod(shape, dtype=object))
    if 0 in shape or file.length != start + size:
        sizes, found = " x ".join(map(str, shape)), file.length - start
        raise members.error(file.name, f"declares {sizes} bytes and has {found:,}; get it again")
    return shape, replace(file, offset=file.offset + start, length=size)

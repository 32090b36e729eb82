"""MedMNIST's layout (Yang et al. 2023): a .npz with {train,val,test}_{images,labels}, which is a zip of .npy files."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace

import numpy as np

from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.records import RecordImages
from ssmlab.ingest.source import Part
from ssmlab.ingest.unpack import ByteRange, printable_name

PARTS: dict[str, PartName] = {"train": "train", "val": "validation", "test": "test"}
HEADER = 1 << 16  # bytes; a header must end within them
MAX_AXES = 5
MAX_LENGTH = 1 << 40  # along an axis


@dataclass(frozen=True)
class NpyArray:
    """A .npy file: shape, dtype, and where its elements are, in C order."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    file: ByteRange


def detect(members: Members) -> Layout | None:
    """MedMNIST's layout: 2-D images, grey or RGB, one label each; None if there are no such arrays.

    Raises:
        UserError: an array is damaged, has the wrong shape or type, or has several labels per image.
    """
    if all(members.find(f"train_{what}.npy") is None for what in ("images", "labels")):
        return None
    members.require_few_files("a .npz")
    parts = {part: read_part(members, prefix) for prefix, part in PARTS.items() if has_part(members, prefix)}
    shapes = {part.images.image_shape for part in parts.values() if isinstance(part.images, RecordImages)}
    if len(shapes) > 1:
        raise members.error("train_images.npy", "its images have another shape than those of another part")
    return Layout("npz", "npz", (), shapes.pop(), parts)


def has_part(members: Members, prefix: str) -> bool:
    """Whether a part exists; raises UserError if only its images or only its labels do."""
    there = {what: members.find(f"{prefix}_{what}.npy") is not None for what in ("images", "labels")}
    if there["images"] != there["labels"]:
        raise members.error(f"{prefix}_images.npy, {prefix}_labels.npy", "one of them is missing")
    return there["images"]


def read_part(members: Members, prefix: str) -> Part:
    """One part from its two arrays; raises UserError if they do not fit each other."""
    images, labels = (f"{prefix}_{what}.npy" for what in ("images", "labels"))
    pixels, numbers = read_header(members, images), read_header(members, labels)
    check_axes(members, images, pixels.shape)
    if pixels.dtype != np.uint8 or len(pixels.shape) not in (3, 4) or 0 in pixels.shape:
        raise members.error(
            images, f"is {pixels.dtype} of shape {pixels.shape}, not bytes of (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
        )
    if len(numbers.shape) == 2 and numbers.shape[1] > 1:
        raise members.error(labels, f"has {numbers.shape[1]} labels per image; exactly one per image is needed")
    if numbers.dtype.kind not in "ui" or numbers.shape not in ((pixels.shape[0],), (pixels.shape[0], 1)):
        raise members.error(labels, f"is {numbers.dtype} of shape {numbers.shape}, not a label for each image")
    height, width = pixels.shape[1:3]
    shape = (1 if len(pixels.shape) == 3 else pixels.shape[3], height, width)
    found = np.frombuffer(members.content(numbers.file), numbers.dtype)
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= MAX_LENGTH:
        raise members.error(labels, f"has labels from {low} to {high}; classes are numbered from 0, without gaps")
    return Part(found.astype(np.int64), RecordImages((pixels.file,), shape, channels_last=len(pixels.shape) == 4))


def check_axes(members: Members, name: str, shape: tuple[int, ...]) -> None:
    """Raises UserError for channels that come first, or could; for 2, 4 or more of them; for 3-D volumes."""
    if len(shape) == 4 and shape[1] in (1, 3):
        raise members.error(name, f"has the shape {shape}: its channels come first; put them last")
    if len(shape) == 4 and shape[3] in (2, 4):
        raise members.error(name, f"has the shape {shape}: {shape[3]} channels, but images must have 1 or 3")
    if len(shape) == 5 or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise members.error(
            name, f"has the shape {shape}: 3-D volumes, but only images can be classified; give another file"
        )


def read_header(members: Members, name: str) -> NpyArray:
    """What a .npy file declares; raises UserError if it is damaged, holds Python objects, or is in Fortran's order."""
    file = members.find(name)
    assert file is not None
    start = io.BytesIO(replace(file, length=min(file.length, HEADER)).read())
    try:
        with warnings.catch_warnings(action="ignore"):  # NumPy warns about headers written by Python 2, but reads them
            version = np.lib.format.read_magic(start)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = readers[version](start)
    except Exception as error:  # NumPy parses the header as Python code, so a forged one can raise anything
        reason = printable_name(str(error) or type(error).__name__)
        raise members.error(name, f"is not a NumPy array ({reason})") from None
    if not all(type(length) is int and 0 <= length <= MAX_LENGTH for length in shape) or len(shape) > MAX_AXES:
        raise members.error(name, "has a shape that images or labels cannot have; save it again")
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise members.error(name, "holds Python objects or is in Fortran's order; save it again as plain bytes")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if file.length - start.tell() != size:
        raise members.error(name, f"declares {size:,} bytes and has {file.length - start.tell():,}; get it again")
    return NpyArray(shape, dtype, replace(file, offset=file.offset + start.tell(), length=size))

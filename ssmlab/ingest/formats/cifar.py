"""CIFAR-10 and CIFAR-100 in their two official versions (https://www.cs.toronto.edu/~kriz/cifar.html).

In the python version each file is a pickled dict. In the binary one each image is a record: the label (CIFAR-100: the
coarse label, then the fine one) and 3,072 bytes of pixels. CIFAR-100 is read with its fine labels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.records import RecordImages, map_records
from ssmlab.ingest.safe_pickle import UnsafePickle, load_plain
from ssmlab.ingest.source import Part
from ssmlab.ingest.unpack import ByteRange

IMAGE_SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarVersion:
    """The files of one of the two data sets in the python version; the binary version adds `.bin` to the names.

    Attributes:
        classes: number of classes.
        train, test: the names of the files; at least one of `train` must exist.
        key: the key of the labels in a pickle.
        names, names_key: the pickle with the class names, and their key in it.
        text: the binary version's file with one class name per line.
    """

    classes: int
    train: tuple[str, ...]
    test: str
    key: str
    names: str
    names_key: str
    text: str

    @property
    def labels(self) -> int:
        """Number of label bytes in a record of the binary version; the last one is the label we use."""
        return 2 if self.key == "fine_labels" else 1


VERSIONS = (
    CifarVersion(
        classes=10,
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        key="labels",
        names="batches.meta",
        names_key="label_names",
        text="batches.meta.txt",
    ),
    CifarVersion(
        classes=100,
        train=("train",),
        test="test",
        key="fine_labels",
        names="meta",
        names_key="fine_label_names",
        text="fine_label_names.txt",
    ),
)


def detect(members: Members) -> Layout | None:
    """CIFAR-10's or CIFAR-100's layout, python or binary, with full or shorter batches; None if it is neither.

    Raises:
        UserError: a file is damaged, or contains anything but images and labels.
    """
    for version in VERSIONS:
        for suffix, read in (("", read_pickled), (".bin", read_binary)):
            train = find_files(members, [name + suffix for name in version.train])
            test = find_files(members, [version.test + suffix])
            if not train:
                continue
            members.require_few_files("CIFAR")
            parts: dict[PartName, Part] = {"train": read(members, version, train)}
            if test:
                parts["test"] = read(members, version, test)
            return Layout("cifar", "cifar", class_names(members, version), IMAGE_SHAPE, parts, train | test)
    return None


def find_files(members: Members, names: Sequence[str]) -> dict[str, ByteRange]:
    """The files among `names` that exist."""
    return {name: file for name in names if (file := members.find(name)) is not None}


def read_pickled(members: Members, version: CifarVersion, files: Mapping[str, ByteRange]) -> Part:
    """One part of the python version; pixels are written to the unpacker's file, so only one batch is in memory."""
    pixels: list[ByteRange] = []
    labels: list[int] = []
    for name, file in files.items():
        batch = load_pickle(members, name, file)
        data, found = (batch.get("data"), batch.get(version.key)) if isinstance(batch, dict) else (None, None)
        if not isinstance(data, np.ndarray) or data.shape[1:] != (PIXELS,) or not len(data):
            raise members.error(name, f"has no `data` with {PIXELS:,} bytes per image")
        if not isinstance(found, list) or len(found) != len(data):
            raise members.error(name, f"has no `{version.key}` with one label per image")
        if not all(type(label) is int and 0 <= label < version.classes for label in found):
            raise members.error(name, f"has labels outside 0 to {version.classes - 1}")
        pixels.append(members.unpacker.unpack(name, io.BytesIO(np.ascontiguousarray(data).data)))
        labels += found
    return Part(np.array(labels, np.int64), RecordImages(tuple(pixels), IMAGE_SHAPE))


def load_pickle(members: Members, name: str, file: ByteRange) -> Any:
    """What a CIFAR pickle holds; raises UserError if it holds more than such a file does."""
    try:
        return load_plain(members.content(file))
    except UnsafePickle as problem:
        raise members.error(name, f"is not a CIFAR pickle ({problem}); it was not loaded") from None


def read_binary(members: Members, version: CifarVersion, files: Mapping[str, ByteRange]) -> Part:
    """One part of the binary version."""
    labels: list[npt.NDArray[np.int64]] = []
    record = version.labels + PIXELS
    for name, file in files.items():
        if not file.length or file.length % record:
            raise members.error(
                name, f"has {file.length:,} bytes, which are not whole records of {record:,}; cut short?"
            )
        found = map_records(file, record)[:, version.labels - 1].astype(np.int64)  # (images,)
        if found.max() >= version.classes:
            raise members.error(name, f"has labels outside 0 to {version.classes - 1}")
        labels.append(found)
    return Part(np.concatenate(labels), RecordImages(tuple(files.values()), IMAGE_SHAPE, skip=version.labels))


def class_names(members: Members, version: CifarVersion) -> tuple[str, ...]:
    """The class names that come with the images; numbers if there are none or not one per class."""
    file = members.find(version.names)
    if file is not None:
        meta = load_pickle(members, version.names, file)
        found = meta.get(version.names_key) if isinstance(meta, dict) else None
    else:
        found = members.text(version.text)
    if isinstance(found, list) and len(found) == version.classes and all(isinstance(name, str) for name in found):
        return tuple(found)
    return tuple(map(str, range(version.classes)))

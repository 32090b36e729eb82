"""The prepared data set: three splits of uint8 images in one safetensors file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.text import few, listed, printable
from ssmlab.data.content_check import read_checked_summary
from ssmlab.data.fingerprint import fingerprint
from ssmlab.data.header import (
    METADATA_KEY,
    SPLITS,
    TENSOR_KINDS,
    DataProvenance,
    Description,
    description_text,
    open_prepared,
    refusing_incomplete,
    tensor_names,
)
from ssmlab.data.pixels import to_unit
from ssmlab.params.paths import Paths

TENSORS = ".safetensors"


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, in a fixed order.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, in [0, classes).
        indices: (N,) int64, each image's row number in the source.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self):,} images of {tuple(self.images.shape[1:])})"

    def tensors(self, n: int | None = None) -> tuple[Tensor, Tensor]:
        """The first `n` images, or all, in the form that models and `ssmlab.evaluate` take.

        Returns:
            x (n, C, H, W) float32 in [0, 1], and y (n,) int64.

        Raises:
            UserError: the split has fewer than `n` images.
        """
        count = len(self) if n is None else n
        self.check_has(count)
        return to_unit(self.images[:count]), self.labels[:count].clone()

    def to(self, device: torch.device | str) -> Split:
        """The same split on `device`; tensors that are already there are not copied."""
        return Split(self.images.to(device), self.labels.to(device), self.indices.to(device))

    def indices_hash(self, n: int) -> str:
        """SHA-256 of the first `n` source rows (little-endian int64): which images an attack saw, in which order.

        Raises:
            UserError: the split has fewer than `n` images.
        """
        self.check_has(n)
        return hashlib.sha256(tensor_bytes(self.indices[:n])).hexdigest()

    def check_has(self, n: int) -> None:
        """Raises UserError if there are fewer than `n` images."""
        if not 0 <= n <= len(self):
            raise UserError(f"{n} images are requested, but the split has {len(self)}; request fewer, or `all`")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits of one source.

    Attributes:
        description: name, source, classes and fingerprint, as stored in the file.
        validation: may be empty; the other two may not.
    """

    description: Description
    train: Split
    validation: Split
    test: Split

    def __repr__(self) -> str:
        sizes = f"{len(self.train):,} training, {len(self.validation):,} validation, {len(self.test):,} test images"
        return f"Dataset({self.name}: {sizes} of {self.image_shape} in {self.classes} classes)"

    @property
    def name(self) -> str:
        """The name under which results on it may be published."""
        return self.description.name

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.description.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the labels."""
        return self.description.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the tensors, as `fingerprint_of` computes it."""
        return self.description.fingerprint

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def load_data(path_or_study: str | Path) -> Dataset:
    """Load a prepared data set.

        x, y = ssmlab.load_data("mnist5k").test.tensors(50)

    Args:
        path_or_study: the file, or the name of a study of the project in the current folder.

    Returns:
        the data set, with `train`, `validation` and `test`. `tensors(n)` of one of them gives its first n images as
        (n, C, H, W) float32 in [0, 1], and their labels as (n,) int64.

    Raises:
        UserError: there is no such data set, or it is damaged.
    """
    path = Path(path_or_study)
    if not isinstance(path_or_study, str) or path.name != path_or_study or path.is_file() or path.suffix == TENSORS:
        return load_dataset(path)
    prepared = Paths(path_or_study).prepared
    if not prepared.is_file():
        there = sorted(file.stem for file in prepared.parent.glob(f"*{TENSORS}"))
        raise UserError(
            f"{printable(str(prepared))}: there is no prepared data set of this study (data/ has {listed(few(there))});"
            " `ssmlab use STUDY` and then `ssmlab prepare` make one"
        )
    return load_dataset(prepared)


def make_dataset(
    name: str,
    classes: int,
    splits: Mapping[str, Split],
    *,
    class_names: Sequence[str] | None = None,
    source: str = "",
    provenance: DataProvenance = "own",
    seed: int = 0,
) -> Dataset:
    """A data set of the splits `train`, `validation` and `test`, with its fingerprint computed.

    Args:
        class_names: one for each of the `classes`; None uses their numbers.
        source, provenance, seed: as in `Description`.
    """
    description = Description(
        name=name,
        source=source,
        provenance=provenance,
        class_names=tuple(map(str, range(classes)) if class_names is None else class_names),
        seed=seed,
        fingerprint=fingerprint_of(split_tensors(splits)),
    )
    return Dataset(description, **splits)


def save_dataset(path: Path, dataset: Dataset) -> None:
    """Write `dataset` to one safetensors file, atomically; equal content gives equal bytes.

    The data set must fit in memory; `ssmlab.ingest.writer` writes the same bytes for larger ones.

    Raises:
        UserError: the file cannot be written; any earlier file is unchanged.
    """
    tensors = split_tensors({split: getattr(dataset, split) for split in SPLITS})
    description = dataset.description.model_copy(update={"fingerprint": fingerprint_of(tensors)})
    # exactly one metadata entry: safetensors writes several in random order
    write_atomic(path, safetensors.torch.save(tensors, {METADATA_KEY: description_text(description)}))


def load_dataset(path: Path) -> Dataset:
    """Read and verify a prepared data set; its tensors stay in the memory-mapped file until they are used.

    Every byte is read and checked before the file is mapped: the tensors against the fingerprint, the description
    against its digest.

    Raises:
        UserError: the file is missing, truncated, damaged, of another format, or has labels out of range.
    """
    with refusing_incomplete(path):
        before = file_version(path)
    description = read_checked_summary(path).description
    with open_prepared(path, "pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in tensor_names()}
        if file_version(path) != before:
            raise ValueError("it was replaced while it was read")
        for split in SPLITS:
            labels = tensors[f"{split}.labels"]
            if len(labels) == 0 and split == "validation":
                continue
            if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < description.classes:
                raise ValueError(f"{split}.labels must be in [0, {description.classes}), at least one")
    train, validation, test = (Split(*(tensors[f"{split}.{part}"] for part in TENSOR_KINDS)) for split in SPLITS)
    return Dataset(description, train, validation, test)


def file_version(path: Path) -> tuple[int, int, int, int]:
    """Which file is at a path, and when it was last written."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def split_tensors(splits: Mapping[str, Split]) -> dict[str, Tensor]:
    """The splits' tensors under their names in the file, contiguous and on the CPU, in the order of the fingerprint."""
    named = {}
    for name in tensor_names():
        split, part = name.split(".")
        named[name] = getattr(splits[split], part).cpu().contiguous()
    return named


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """The fingerprint of tensors under their names in the file, in the order of `tensor_names`."""
    return fingerprint(
        (name, str(tensor.dtype), tensor.shape, [tensor_bytes(tensor)]) for name, tensor in tensors.items()
    )


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's elements in row-major order, little-endian; not copied if it already has that layout."""
    array = tensor.cpu().contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).data

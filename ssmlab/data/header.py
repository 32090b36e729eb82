"""The description of a prepared data set, read from the header of its file alone. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssmlab.core.digest import KEY, seal
from ssmlab.core.errors import UserError
from ssmlab.core.json_text import canonical_json
from ssmlab.core.tensors import TensorHeader, mapped_tensors, read_tensors_header
from ssmlab.core.validation import first_problem

PartName = Literal["train", "validation", "test"]
DataProvenance = Literal["official", "partial", "re-encoded", "own"]
METADATA_KEY = "ssmlab"
SPLITS: tuple[PartName, ...] = ("train", "validation", "test")
# dtype and number of dimensions of a split's tensors
TENSOR_KINDS = {"images": ("U8", 4), "labels": ("I64", 1), "indices": ("I64", 1)}


def tensor_names() -> list[str]:
    """The name of every tensor in a prepared data set, in the order of the fingerprint."""
    return [f"{split}.{part}" for split in SPLITS for part in TENSOR_KINDS]


class LabelNoise(BaseModel):
    """Wrong labels that were put into the training split on purpose.

    Attributes:
        fraction: the requested fraction of the training labels.
        seed: for drawing the rows and their wrong labels.
        changed: how many labels are wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    fraction: float
    seed: int
    changed: int


class Description(BaseModel):
    """The metadata of a prepared data set.

    Attributes:
        name: the name under which results on it may be published.
        source: where the images come from, in words.
        provenance: how the content relates to the publisher's (`ssmlab.ingest.source.Source`).
        class_names: one per class, in the order of the labels.
        seed: for drawing the splits.
        label_noise: None if every label is the source's.
        fingerprint: SHA-256 over the tensors (`ssmlab.data.fingerprint`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[3] = 3
    name: str
    source: str
    provenance: DataProvenance
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    seed: int
    label_noise: LabelNoise | None = None
    fingerprint: str

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True, slots=True)
class DataSummary:
    """A prepared data set without its pixels: description, shape (C, H, W) of an image, and sizes of the splits."""

    description: Description
    image_shape: tuple[int, int, int]
    train: int
    validation: int
    test: int


def read_data_summary(path: Path) -> DataSummary:
    """Read only the header of a prepared data set. The description is checked against its digest.

    Raises:
        UserError: the file is missing, truncated, damaged in its header, or not a prepared data set.
    """
    with refusing_incomplete(path):
        return summary_of(read_tensors_header(path))


def prepared_fingerprint(path: Path) -> str:
    """The fingerprint in the header of a prepared data set.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the file is damaged.
    """
    return prepared_description(path).fingerprint


def prepared_description(path: Path) -> Description:
    """The description in the header of a prepared data set; raises as `prepared_fingerprint` does."""
    path.stat()
    return read_data_summary(path).description


@contextmanager
def open_prepared(path: Path, framework: Literal["np", "pt"]) -> Iterator[Any]:
    """A prepared data set as an open safetensors file; any error on opening or reading it becomes a UserError."""
    with refusing_incomplete(path), mapped_tensors(path, framework) as file:
        yield file


@contextmanager
def refusing_incomplete(path: Path) -> Iterator[None]:
    """Within this block an error of reading the prepared data set at `path` becomes a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: there is no prepared data set; run `ssmlab prepare`") from None
    except ValueError as error:
        raise UserError(f"{path}: not a complete prepared data set ({error}); run `ssmlab prepare` again") from None


def summary_of(header: TensorHeader) -> DataSummary:
    """What the header of a safetensors file says; raises ValueError if it is not that of a prepared data set."""
    description = parse_description(header.metadata.get(METADATA_KEY, ""))
    shapes = {(split, part): check_shape(header, split, part) for split in SPLITS for part in TENSOR_KINDS}
    sizes = {split: shapes[split, "images"][0] for split in SPLITS}
    if any(shape[0] != sizes[split] for (split, _), shape in shapes.items()):
        raise ValueError("images, labels and indices differ in number")
    image_shapes = {shapes[split, "images"][1:] for split in SPLITS}
    if len(image_shapes) != 1:
        raise ValueError("the splits differ in image shape")
    channels, height, width = image_shapes.pop()
    return DataSummary(description, (channels, height, width), **sizes)


def description_text(description: Description) -> str:
    """The text of a description in the file: canonical JSON with a digest of its content (`ssmlab.core.digest`)."""
    return canonical_json(seal(description.model_dump(mode="json", exclude_none=True)))


def parse_description(text: str) -> Description:
    """The description in a file's metadata entry.

    Raises:
        ValueError: it is missing, of another format, or was changed after it was written.
    """
    try:
        value = json.loads(text)
        value.pop(KEY, None)
        description = Description.model_validate_json(json.dumps(value))
    except ValidationError as error:
        if any(problem["loc"] == ("format",) for problem in error.errors()):
            raise ValueError("another version of ssmlab wrote it") from None
        raise ValueError(f"its description is missing or damaged: {first_problem(error, Description)}") from None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ValueError("its description is missing or damaged") from None
    # comparing the complete texts checks the digest and finds any other change of the text
    if description_text(description) != text:
        raise ValueError("its description does not match its digest")
    return description


def check_shape(header: TensorHeader, split: str, part: str) -> tuple[int, ...]:
    """The shape of one tensor of a split; raises ValueError if it is missing or has another dtype or dimension."""
    name = f"{split}.{part}"
    if name not in header.tensors:
        raise ValueError(f"{name} is missing")
    tensor, (dtype, dimensions) = header.tensors[name], TENSOR_KINDS[part]
    if tensor.dtype != dtype or len(tensor.shape) != dimensions:
        raise ValueError(f"{name} is {tensor.dtype} of shape {list(tensor.shape)}")
    return tensor.shape

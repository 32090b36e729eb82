"""Opens safetensors files, and checks a digest that finds every changed bit in files that are read into memory.

A checkpoint or a training state is read into memory once, so the bytes that are hashed are the bytes that are used,
even if the file is replaced meanwhile. A data set may be larger than memory and is mapped instead (`mapped_tensors`).

The layout (https://github.com/huggingface/safetensors#format): 8 bytes with the length of the header, the header as
JSON (for each tensor its dtype, shape and place; `__metadata__` maps text to text), the bytes of the tensors.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from ssmlab.core.blocked_paths import way_out
from ssmlab.core.files import LARGEST_FILE, naming, open_regular, read_file
from ssmlab.core.json_text import canonical_json
from ssmlab.core.plain_values import parse_json

LARGEST_STATE = 8 * 2**30  # bytes of a training state, which has five times the size of the weights
LARGEST_HEADER = 16 * 2**20  # bytes
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
DIGEST = "digest"  # the key of a sealed file's metadata
NO_DIGEST = "0" * 64  # stands in the digest's place while the digest is computed
BEFORE_DIGEST = b'\\"digest\\":\\"'  # in the header, where the metadata is JSON inside a JSON string
BYTES = {  # of one element
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}

Size = Annotated[int, Field(ge=0, lt=2**48)]


class DamagedTensors(ValueError):
    """Not a complete safetensors file; the message goes into an error that names the file."""


class UnreadableTensors(DamagedTensors):
    """The disk did not return the file's bytes, which may be undamaged."""


class TensorInfo(BaseModel):
    """What the header says about one tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str
    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]

    @property
    def elements(self) -> int:
        return prod(self.shape)


HEADER = TypeAdapter(dict[str, TensorInfo], config=ConfigDict(defer_build=True))
METADATA = TypeAdapter(dict[str, str], config=ConfigDict(defer_build=True))


@dataclass(frozen=True)
class TensorHeader:
    """The header of a safetensors file, whose tensors begin at byte `data_start`."""

    data_start: int
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


@dataclass(frozen=True)
class TensorFile(TensorHeader):
    """A safetensors file in memory: all its bytes are in `content`."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all bytes, as 64 hex digits."""
        return hashlib.sha256(self.content).hexdigest()

    def metadata_object(self, key: str) -> dict[str, Any]:
        """The JSON object in metadata entry `key`, digest unchecked; raises DamagedTensors if there is none."""
        try:
            document = parse_json(self.metadata[key])
        except (KeyError, ValueError) as error:
            raise DamagedTensors(f"its metadata cannot be read: {error}") from None
        if not isinstance(document, dict):
            raise DamagedTensors("its metadata cannot be read: it is not a JSON object")
        return document

    def check_digest(self, document: dict[str, Any]) -> None:
        """Raise DamagedTensors unless the digest recorded in `document`, the file's `metadata_object`, is right."""
        header = self.content[: self.data_start]
        place = BEFORE_DIGEST + str(document.get(DIGEST)).encode(errors="replace")
        if header.count(place) != 1:
            raise DamagedTensors("its digest cannot be read")
        found = hashlib.sha256(header.replace(place, BEFORE_DIGEST + NO_DIGEST.encode()))
        found.update(memoryview(self.content)[self.data_start :])
        if found.hexdigest() != document[DIGEST]:
            raise DamagedTensors("its content does not match its digest")


def sealable_metadata(document: dict[str, Any]) -> str:
    """A metadata entry with room for the digest, which `sealed` must fill in once the file's bytes are known."""
    return canonical_json({**document, DIGEST: NO_DIGEST})


def sealed(content: bytes) -> bytes:
    """The safetensors file `content` with its digest filled in where `sealable_metadata` left room for it."""
    length = 8 + int.from_bytes(content[:8], "little")
    room = BEFORE_DIGEST + NO_DIGEST.encode()
    if content[:length].count(room) != 1:
        raise ValueError("the header has no room for a digest, or more than one")
    digest = BEFORE_DIGEST + hashlib.sha256(content).hexdigest().encode()
    return content[:length].replace(room, digest) + content[length:]


def read_tensors_file(path: Path, largest: int = LARGEST_FILE) -> TensorFile:
    """Read a safetensors file of at most `largest` bytes into memory.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedTensors: it is too large, or not a complete safetensors file.
        UnreadableTensors: the disk did not give its bytes.
    """
    with refusing_unreadable():
        content = read_file(path, largest)
    return parse_tensors_file(content)


@contextmanager
def refusing_unreadable() -> Iterator[None]:
    """Within this block an OSError becomes a DamagedTensors, unless there is no such file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # a file is where a folder of the path should be
        raise FileNotFoundError(error.errno, error.strerror, error.filename) from None
    except OSError as error:
        kind = DamagedTensors if error.errno in (errno.EINVAL, errno.EFBIG) else UnreadableTensors  # as read_file says
        remedy = way_out(Path(error.filename), error) if error.filename else ""
        raise kind(": ".join(filter(None, [error.strerror or str(error), remedy]))) from None


def parse_tensors_file(content: bytes) -> TensorFile:
    """The header of a safetensors file, checked against the file's length; raises DamagedTensors."""
    header = parse_tensors_header(content, len(content))
    return TensorFile(header.data_start, header.metadata, header.tensors, content)


def read_tensors_header(path: Path) -> TensorHeader:
    """The header of a safetensors file; nothing else of the file is read. Raises the errors of `read_tensors_file`."""
    with refusing_unreadable(), naming(path), open_regular(path) as file:
        return read_header(file)


def read_header(file: BufferedReader) -> TensorHeader:
    """The header of an open safetensors file, read from its start; raises OSError and DamagedTensors."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(len(LFS_POINTER))
    rest = header_end(begin, size) - len(begin)
    return parse_tensors_header(begin + file.read(max(rest, 0)), size)


def header_end(begin: bytes, size: int) -> int:
    """The byte at which the header of a safetensors file of `size` bytes ends; raises DamagedTensors."""
    if begin.startswith(LFS_POINTER):
        raise DamagedTensors("it is only the pointer of Git LFS: `git lfs pull` fetches the file")
    length = int.from_bytes(begin[:8], "little")
    if size < 8 or length > LARGEST_HEADER or 8 + length > size:
        raise DamagedTensors("it is cut off, or not a safetensors file")
    return 8 + length


def parse_tensors_header(content: bytes, size: int) -> TensorHeader:
    """The header at the start of `content`, checked against the file's size in bytes; raises DamagedTensors."""
    start = header_end(content, size)
    try:
        header = parse_json(content[8:start])
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        metadata = METADATA.validate_python(header.pop("__metadata__", {}), strict=True)
        tensors = HEADER.validate_python(header)
    except ValidationError:
        raise DamagedTensors("its header is not that of a safetensors file") from None
    except ValueError as error:
        raise DamagedTensors(f"its header cannot be read: {error}") from None
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        first, last = tensor.data_offsets
        if first != end or last - first != tensor.elements * BYTES.get(tensor.dtype, 0):
            raise DamagedTensors(f"the bytes of tensor {name[:80]!r} do not match its shape")
        end = last
    if end != size - start:
        raise DamagedTensors("it is cut off, or longer than its header says")
    return TensorHeader(start, metadata, tensors)


@contextmanager
def mapped_tensors(path: Path, framework: Literal["np", "pt"]) -> Iterator[Any]:
    """An open safetensors file whose tensors are read when they are asked for.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedTensors: on opening it or reading its tensors, it turned out not to be a complete safetensors file.
        UnreadableTensors: the disk did not let it be opened. Later it can only send SIGBUS (`system.bad_pages`).
    """
    try:
        with refusing_unreadable():
            open_regular(path).close()  # a pipe or a device would never end
            opened = open_mapped(path, framework)
        with opened as file:
            yield file
    except SafetensorError as error:
        raise DamagedTensors(" ".join(str(error).split())) from None


def open_mapped(path: Path, framework: Literal["np", "pt"]) -> Any:
    """`safe_open` of an existing file; raises OSError for every reason why it cannot be opened.

    For every file that it cannot open, safetensors says that the file was not found. torch maps the file for "pt", and
    raises a RuntimeError.
    """
    try:
        return safe_open(path, framework=framework)
    except FileNotFoundError:
        raise OSError("it cannot be opened") from None
    except RuntimeError as error:
        raise OSError(" ".join(str(error).split())) from None

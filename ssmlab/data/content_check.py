"""Checks every byte of a prepared data set by reading its file. Nothing here imports torch.

The file is read, not mapped: when the disk fails, a read is an error that can be reported, but a page of a mapped file
ends the process (`ssmlab.system.bad_pages`).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ssmlab.core.files import naming, open_regular
from ssmlab.core.tensors import TensorHeader, read_header, refusing_unreadable
from ssmlab.data.fingerprint import fingerprint
from ssmlab.data.header import DataSummary, refusing_incomplete, summary_of, tensor_names

PIECE = 2**20  # bytes
TORCH_NAMES = {"U8": "torch.uint8", "I64": "torch.int64"}


def read_checked_summary(path: Path) -> DataSummary:
    """The summary of a prepared data set whose whole content has been read and has the fingerprint of its description.

    Raises:
        UserError: the file is missing, damaged, not a prepared data set, or the disk cannot read it.
    """
    with refusing_incomplete(path), refusing_unreadable(), naming(path), open_regular(path) as file:
        header = read_header(file)
        summary = summary_of(header)
        if content_fingerprint(file, header) != summary.description.fingerprint:
            raise ValueError("its content does not match its fingerprint")
        return summary


def content_fingerprint(file: BufferedReader, header: TensorHeader) -> str:
    """The fingerprint of the tensors in an open prepared data set; raises ValueError if the file became shorter."""
    tensors = ((name, header.tensors[name]) for name in tensor_names())
    return fingerprint(
        (name, TORCH_NAMES[tensor.dtype], tensor.shape, pieces(file, header, *tensor.data_offsets))
        for name, tensor in tensors
    )


def pieces(file: BufferedReader, header: TensorHeader, first: int, last: int) -> Iterator[bytes]:
    """The bytes from `first` to `last` after the header, at most PIECE at a time."""
    file.seek(header.data_start + first)
    while first < last:
        piece = file.read(min(PIECE, last - first))
        if not piece:
            raise ValueError("it became shorter while it was read")
        first += len(piece)
        yield piece

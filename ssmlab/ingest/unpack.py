"""Unpacking the members of archives into our own files, and where the bytes of each member are."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable

LONGEST_NAME = 120  # characters of a name in a message

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = MIB
# for a member that is read into memory; the largest in a known data set is CIFAR-100's pickle of 150 MiB
MAX_IN_MEMORY = 256 * MIB

# Real data sets unpack to at most 10 times the size of their archive (MNIST: 5), decompression bombs to over 1,000.
MAX_EXPANSION = 50
ALWAYS_ALLOWED = 256 * MIB
MAX_UNPACKED = 256 * GIB  # ImageNet takes 150
MIN_FREE = 256 * MIB
MAX_XZ_MEMORY = 128 * MIB  # `xz -9` needs 65

DAMAGE_ERRORS = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError),
    *(MemoryError, struct.error),  # headers that ask for too much, or are cut short
)


class Readable(Protocol):
    """An object that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Where the bytes of one member are. It can be pickled, so that worker processes can read the bytes.

    Attributes:
        name: its name in the archive, used only in messages.
        path, offset, length: `length` bytes of the file `path`, from byte `offset`.
    """

    name: str
    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """All of it; raises UserError as `chunks` does."""
        return b"".join(self.chunks())

    def digest(self, algorithm: str) -> str:
        """Its checksum in hex digits; raises UserError as `chunks` does."""
        found = hashlib.new(algorithm, usedforsecurity=False)
        for chunk in self.chunks():
            found.update(chunk)
        return found.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Its bytes in pieces; raises UserError if the file under it has become shorter or is gone."""
        left = self.length
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                while left and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise read_error(self.path, error) from None
        if left:
            raise changed_error(self.path)


class Unpacker:
    """Unpacks members into one file in `workdir`, one after the other, within a budget.

    Args:
        origin: the archive or folder that the user gave, for messages.
        workdir: an empty folder.
        size: compressed size in bytes; all members together may unpack to `MAX_EXPANSION` times as much.

    Raises:
        UserError: from every method, if `origin` is damaged or exceeds the budget, or the disk is full.
    """

    def __init__(self, origin: Path, workdir: Path, size: int) -> None:
        self.origin, self.workdir = origin, workdir
        self.allowed = min(MAX_UNPACKED, max(ALWAYS_ALLOWED, MAX_EXPANSION * size))
        self.budget = self.allowed
        self.room = shutil.disk_usage(workdir).free - MIN_FREE
        self.path = workdir / "members"
        self.path.touch()

    def unpack(self, name: str, stream: Readable, watch: Callable[[], None] | None = None) -> ByteRange:
        """Append the content of `stream` to the file; `watch` is called after every mebibyte."""
        return self.append(name, stream, self.path, "ab", watch)

    def unpack_separately(self, name: str, stream: Readable, watch: Callable[[], None] | None = None) -> ByteRange:
        """Unpack `stream` into a separate file, for an archive inside a compressed file."""
        return self.append(name, stream, self.workdir / "archive", "xb", watch)

    def append(
        self, name: str, stream: Readable, path: Path, mode: Literal["ab", "xb"], watch: Callable[[], None] | None
    ) -> ByteRange:
        """Copy `stream` to the end of a file, never more than the budget has left."""
        try:
            with path.open(mode) as file:
                offset = file.tell()
                while chunk := self.read_chunk(name, stream):
                    self.spend_budget(name, len(chunk))
                    file.write(chunk)
                    if watch is not None:
                        watch()
                return ByteRange(name, path, offset, file.tell() - offset)
        except OSError as error:  # the disk's; read_chunk turns those of the stream into UserErrors
            raise UserError(cannot(path, "written", error)) from None

    def read_chunk(self, name: str, stream: Readable) -> bytes:
        """The next piece of `stream`; raises UserError if the stream is damaged."""
        try:
            return stream.read(CHUNK)
        except DAMAGE_ERRORS as error:
            raise damaged_error(self.origin, name, error) from None

    def spend_budget(self, name: str, count: int) -> None:
        """Subtract `count` bytes from the budget and from the free disk space; raises UserError if either runs out."""
        self.budget -= count
        self.room -= count
        if self.budget < 0:
            raise UserError(
                f"{self.origin}: {printable_name(name)}: unpacks to more than {self.allowed / MIB:,.0f} MiB, which no "
                "data set of its size does; refused, unpack it by hand if you trust it"
            )
        if self.room < 0:
            raise UserError(f"{self.workdir}: the disk has too little free space to unpack {self.origin}; free some")


def open_compressed(file: IO[bytes], magic: bytes) -> Readable | None:
    """A stream of the unpacked content of `file`, chosen by its first bytes; None if it is not compressed."""
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return XzReader(file)
    return None


def read_error(path: Path, error: OSError) -> UserError:
    """The error for a file that the system cannot read, such as one on a failing disk."""
    return UserError(cannot(path, "read", error))


def changed_error(path: Path) -> UserError:
    """The error for a file that has changed since it was first opened."""
    return UserError(f"{path}: has changed while it was read; run the command again when no program writes to it")


def damaged_error(origin: Path, name: str, error: Exception) -> UserError:
    """The error for a damaged archive, or a damaged member of it."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{origin}: {printable_name(name)}: damaged or cut short ({printable_name(reason)}); get the file again"
    )


def printable_name(name: str) -> str:
    """A name or a message from an untrusted file, as a short line that is safe to print."""
    return printable(name, LONGEST_NAME)


class XzReader:
    """The unpacked content of an xz file; the memory that its header may ask for is limited."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.decompressor = self.new_decompressor()

    def new_decompressor(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end; raises lzma.LZMAError or EOFError if the file is damaged."""
        packed = b""
        while True:
            if self.decompressor.eof:  # an xz file may have several streams, with zeros between them
                packed = (self.decompressor.unused_data or self.file.read(KIB)).lstrip(b"\0")
                if not packed:
                    return b""
                self.decompressor = self.new_decompressor()
            elif self.decompressor.needs_input:
                packed = self.file.read(CHUNK)
                if not packed:
                    raise EOFError("the file ends before its content does")
            if unpacked := self.decompressor.decompress(packed, size):
                return unpacked
            packed = b""

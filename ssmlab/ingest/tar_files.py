"""The positions of files in a tar archive. One damaged, linked or special member is enough to refuse the archive."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.ingest.member_names import safe_name
from ssmlab.ingest.unpack import DAMAGE_ERRORS, MIB, ByteRange, damaged_error, printable_name

MAX_FOLDERS = 50_000  # in a tar; each costs 512 bytes, which compress to nothing
TAR_BLOCK = 512
TAR_HEADER = MIB  # bytes; long names are in headers, but nothing longer than this


def list_tar(archive: Path, whole: ByteRange, folders: list[str]) -> Iterator[tuple[str, ByteRange]]:
    """The names and positions of a tar's files; raises UserError if it is cut short or has other kinds of members."""
    try:
        with HeadersOnly(whole.path) as file, tarfile.open(fileobj=file, mode="r:") as opened:
            empty = 0
            while (member := opened.next()) is not None:
                opened.members = []  # type: ignore[attr-defined]  # it would keep every header in memory
                if member.size < 0 or member.offset_data + member.size > whole.length:
                    raise tarfile.ReadError("a member goes past the end")
                name = safe_name(archive, member.name)
                if member.isreg() and not member.issparse():
                    yield name, ByteRange(name, whole.path, member.offset_data, member.size)
                elif member.isdir():
                    folders.append(name)
                else:
                    raise UserError(f"{archive}: {printable_name(name)}: is a link, a device or sparse; refused")
                empty += member.size == 0
                if empty > MAX_FOLDERS:
                    raise UserError(f"{archive}: holds more than {MAX_FOLDERS:,} empty files or folders; refused")
            end = ByteRange("the end", whole.path, opened.offset, max(0, min(TAR_BLOCK, whole.length - opened.offset)))
        # tarfile treats an unreadable header as the end of the archive, but the real end is a block of zeros
        if end.read() != bytes(TAR_BLOCK):
            raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, *DAMAGE_ERRORS, ValueError, OverflowError) as error:
        raise damaged_error(archive, "the tar archive", error) from None


class HeadersOnly(FileIO):
    """A file that refuses to read a piece longer than a tar header, because a header may ask for any length."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; raises tarfile.ReadError for more than TAR_HEADER."""
        if size is None or not 0 <= size <= TAR_HEADER:
            raise tarfile.ReadError("a header is too long")
        return super().read(size) or b""

"""Follows a history.csv while it grows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ssmlab.artifacts.history import Row, parse_rows
from ssmlab.core.files import open_regular
from ssmlab.project.watched_files import unread

PIECE = 2**20  # bytes read at once
EDGE = 4096  # bytes at both ends of the content; if they are unchanged in a longer file, it is the same file, grown


class HistoryReader:
    """Follows a history.csv that another process writes, and reads only the new part of the file.

    Attributes:
        rows: all rows of the file at the last `poll`, which adds to this list.
        problem: why the disk did not give the file's bytes at the last `poll`, so that rows may be missing; or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.problem: str | None = None
        self._end = 0  # number of bytes read so far, always whole lines
        self._head, self._tail = b"", b""  # the beginning and the end of these bytes
        self._digest = hashlib.sha256()  # of all these bytes
        self._stamp: tuple[int, int, int] | None = None

    def poll(self) -> list[Row]:
        """The new rows since the last call, without a line that is still being written.

        If the file was removed, shortened or replaced, it is read from its beginning, and `rows` starts again. Lines
        that are not rows (such as the last line of a crashed writer) are ignored. A disk that fails removes no row.
        """
        self.problem = None
        new: list[Row] = []
        rest = b""
        try:
            with open_regular(self.path) as file:
                if not self._goes_on(file):
                    self._start_over()
                file.seek(self._end)
                while piece := file.read(PIECE):
                    lines, end, rest = (rest + piece).rpartition(b"\n")
                    new += self._take(lines + end)
                self._stamp = stamp(file)
        except OSError as error:
            self.problem = unread(self.path, error)
            if self.problem is None:  # there is no such file
                self._start_over()
                return []
        return new

    def _take(self, content: bytes) -> list[Row]:
        """The rows in the next bytes, which end with a line."""
        self._end += len(content)
        self._digest.update(content)
        self._head = (self._head + content[:EDGE])[:EDGE]
        self._tail = (self._tail + content[-EDGE:])[-EDGE:]
        new = parse_rows(content.decode(errors="replace"))
        self.rows.extend(new)
        return new

    def _start_over(self) -> None:
        self.rows = []
        self._end, self._head, self._tail, self._digest = 0, b"", b"", hashlib.sha256()

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether an open file still begins with the content that was read so far.

        A writer appends to the file or replaces it. If the file has grown, its beginning and the end of the known
        content are compared. If it was replaced, or written again with the same length, the whole content is compared.
        """
        now, before = stamp(file), self._stamp
        if before is not None and now[0] == before[0] and now[1] > before[1]:
            beginning = bytes(file.read(len(self._head)))
            file.seek(self._end - len(self._tail))
            return beginning == self._head and bytes(file.read(len(self._tail))) == self._tail
        return now == before or hashlib.sha256(file.read(self._end)).digest() == self._digest.digest()


def stamp(file: BinaryIO) -> tuple[int, int, int]:
    """The inode of a file, its length in bytes, and its modification time in nanoseconds."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns

"""Following a log file while a process writes it."""

from __future__ import annotations

import os
from pathlib import Path

from ssmlab.core.files import open_regular


class LogFollower:
    """Reads a growing text file piece by piece; knows no UI and no process.

    A missing file counts as empty; a file that has shrunk or was replaced is read from its start.
    """

    def __init__(self, path: Path, start: int = 0, tail: int | None = None) -> None:
        """Start at byte `start`, or `tail` bytes before the end, whichever is later."""
        self.path = path
        self.start = start
        self.tail = tail
        self.inode: int | None = None
        self.rest = b""

    def poll(self, whole: bool = True) -> list[str]:
        """The new lines since the last call, without line ends; `whole=False` includes an incomplete last line.

        A progress bar overwrites itself with carriage returns; only its last state is kept.
        """
        try:
            with open_regular(self.path) as file:
                status = os.fstat(file.fileno())
                if self.inode is not None and (status.st_ino != self.inode or status.st_size < self.start):
                    self.start, self.rest = 0, b""
                self.inode = status.st_ino
                skip = 0 if self.tail is None else status.st_size - self.tail
                if skip > self.start:
                    file.seek(skip)
                    self.rest = b""
                    file.readline()  # the rest of a line whose beginning is left out
                else:
                    file.seek(self.start)
                data = self.rest + file.read()
                self.start = file.tell()
        except OSError:
            return []
        *lines, self.rest = data.split(b"\n")
        if not whole and self.rest:
            lines.append(self.rest)
            self.rest = b""
        return [line.decode(errors="replace").rstrip("\r").rpartition("\r")[2] for line in lines]

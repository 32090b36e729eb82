"""Files that are read again only when they have changed. For an idle study, a look costs one `stat` per file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError, disk_error_in
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params

FileStamp = tuple[int, int, int] | None  # inode, bytes, nanoseconds of the last change; None: no such file
Content = TypeVar("Content")


def file_stamp(path: str | Path) -> FileStamp:
    """Something that changes when the file does; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called four times a run and second; Path.stat costs twice as much
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class CachedFile(Generic[Content]):
    """A file's content, read again only when the file has changed; None while it is missing or cannot be read.

    Attributes:
        problem: why the disk cannot read the file; None if it can. After such a problem, every poll reads the file
            again.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self.path = path
        self.problem: str | None = None
        self._read = read
        self._seen: FileStamp = None
        self._content: Content | None = None

    def poll(self) -> Content | None:
        """The content as it is now."""
        seen = file_stamp(self.path)
        if seen != self._seen or self.problem:
            self._seen, self.problem = seen, None
            try:
                self._content = None if seen is None else self._read(self.path)
            except (UserError, OSError, ValueError, RecursionError) as error:
                self._content = None
                self.problem = unread(self.path, error)
        return self._content


def unread(path: Path, error: Exception) -> str | None:
    """Why the disk did not give the bytes of a file; None if the error is of another kind."""
    reason = disk_error_in(error)
    return None if reason is None else cannot(path, "read", reason)


class WatchedParams:
    """The study in params.yaml. If the file can no longer be read, the last good study stays.

    Attributes:
        params, paths: the study that was last read; None if there was none.
        problem: why params.yaml cannot be read now, in one line; None if it can.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "params.yaml"
        self.params: Params | None = None
        self.paths: Paths | None = None
        self.problem: str | None = None
        self._seen: FileStamp | str = "never"

    def watch(self, file: Path) -> None:
        """Follow another file of the project from now on, such as one of studies/."""
        if file != self.file:
            self.file, self._seen = file, "never"

    def poll(self) -> bool:
        """Read params.yaml if it has changed; returns whether there is a new study."""
        seen = file_stamp(self.file)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            params = load_params(self.file)
        except UserError as error:
            self.problem = str(error)
            if disk_error_in(error):
                self._seen = "never"  # the next poll tries again
            return False
        self.params, self.problem = params, None
        self.paths = Paths(params.study, self.root)
        return True

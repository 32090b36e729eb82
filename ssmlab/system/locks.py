"""Locks on files, which the system takes away from a process however it ends.

The library filelock was tried and is not used. Where a file system has no locks it falls back to a file that outlives
a killed process; before version 4 it empties the file, and with it the holder's pid that the loser of a lock should
name; it hands out no file to write that pid into; and it waits by asking again and again.
"""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path
from typing import IO


def lock(path: Path, *, wait: bool = True) -> IO[str]:
    """Lock the file at `path`, which is created if needed, until the returned file is closed.

    The file is opened for writing: over NFS, Linux makes a lock on a range of bytes of it, which demands that.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
        OSError: the file cannot be written, or its file system has no locks.
    """
    with ExitStack() as held:
        file = held.enter_context(path.open("a+", encoding="ascii"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(error.errno, f"its file system has no locks: {error.strerror}", str(path)) from None
        held.pop_all()
    return file

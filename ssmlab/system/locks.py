"""Locks on files. The system releases a lock when its process ends, even if it is killed.

The library filelock was tried but is not used, for four reasons:

- On a file system without locks, it uses a file that remains when a process is killed.
- Before version 4, it empties the file, which contains the owner's pid for the error message.
- It does not give access to the file, so the pid cannot be written.
- It waits by polling.
"""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path
from typing import IO


def lock(path: Path, *, wait: bool = True) -> IO[str]:
    """Lock the file at `path`, which is created if needed, until the returned file is closed.

    The file is opened for writing, because on NFS Linux locks a range of its bytes, which requires that.

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

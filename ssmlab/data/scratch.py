"""A folder for work in progress beside the file that it will become, and no traces of work that was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssmlab.errors import UserError


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """An empty folder on the disk of `path`, in the same folder, for as long as the block lasts.

    Its owner holds a lock on it, which the system takes away however the owner dies. What dead processes left is
    removed first: folders such as this one for any file of that suffix, and what `write_atomic` left for `path`.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):  # nobody sweeps between the making of a folder and its lock
            sweep(path)
            folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
            lock = lock_of(folder)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written ({error.strerror or error})") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(path: Path) -> None:
    """Remove what dead processes left beside `path`."""
    for left in path.parent.glob(f".*{path.suffix}.*.tmp"):
        if not left.is_dir() and not left.name.startswith(f".{path.name}."):
            continue  # files are not locked, so that this one may still be written
        try:
            lock = lock_of(left, wait=False)
        except OSError:  # its owner lives, or it has just gone
            continue
        try:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        finally:
            os.close(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is inside for the same folder."""
    lock = lock_of(folder)
    try:
        yield
    finally:
        os.close(lock)


def lock_of(path: Path, wait: bool = True) -> int:
    """Lock a file or a folder for this process until the descriptor that is returned is closed.

    Raises:
        BlockingIOError: another process has it, and `wait` is False.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor

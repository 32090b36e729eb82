"""A temporary folder next to the file that is being made; folders that killed processes left behind are removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import sweep_leftovers
from ssmlab.system.locks import lock

LOCK_FILE = ".lock"  # the file in a workdir that its owner locks


@contextmanager
def workdir_beside(path: Path) -> Iterator[Path]:
    """A new folder next to `path`, so on the same disk, that contains only a lock file; removed after the block.

    The owner holds the lock; the system releases it even if the owner is killed. Leftovers of dead processes are
    removed first: such folders for any file with the same suffix, and temporary files of `write_atomic` for `path`.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        folder, owned = make_locked_folder(path)
    except OSError as error:
        raise UserError(cannot(path, "written", error)) from error
    try:
        yield folder
    finally:
        owned.close()  # first, because on NFS neither an open file nor its folder can be removed
        shutil.rmtree(folder, ignore_errors=True)


def make_locked_folder(path: Path) -> tuple[Path, IO[str]]:
    """A new folder next to `path`, and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            owned = lock(folder / LOCK_FILE)
        except FileNotFoundError:  # another process has removed it before it was locked
            continue
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if (folder / LOCK_FILE).exists():
            return folder, owned
        owned.close()


def remove_leftovers(path: Path) -> None:
    """Remove what dead processes left next to `path`."""
    sweep_leftovers(path)
    for left in path.parent.glob(f".*{path.suffix}.*.tmp"):
        if left.is_dir():
            with suppress(OSError):  # its owner is alive, or has just removed it
                lock(left / LOCK_FILE, wait=False).close()
                shutil.rmtree(left, ignore_errors=True)

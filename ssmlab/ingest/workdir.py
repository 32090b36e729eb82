"""A temporary folder beside the file that is being made; what killed processes left behind is removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ssmlab.core.errors import UserError
from ssmlab.core.files import sweep_leftovers
from ssmlab.system.locks import lock

LOCK_FILE = ".lock"  # the file in a workdir that its owner has locked


@contextmanager
def workdir_beside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, so on the same disk, with nothing in it but a lock; removed after the block.

    The owner holds the lock, which the system releases however the owner dies. What dead processes left is removed
    first: folders such as this one for any file of that suffix, and what `write_atomic` left for `path`.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        folder, owned = make_locked_folder(path)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written ({error.strerror or error})") from error
    try:
        yield folder
    finally:
        owned.close()  # first: over NFS a file that is open cannot be removed, nor its folder
        shutil.rmtree(folder, ignore_errors=True)


def make_locked_folder(path: Path) -> tuple[Path, IO[str]]:
    """A new folder beside `path`, and its lock."""
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
    """Remove what dead processes left beside `path`."""
    sweep_leftovers(path)
    for left in path.parent.glob(f".*{path.suffix}.*.tmp"):
        if left.is_dir():
            with suppress(OSError):  # its owner is alive, or has just removed it
                lock(left / LOCK_FILE, wait=False).close()
                shutil.rmtree(left, ignore_errors=True)

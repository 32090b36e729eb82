"""Locks: they have one owner, end with it, and a file system without locks is reported."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.events import silence
from ssmlab.ingest.catalog import look_up
from ssmlab.ingest.fetch import fetch, folder_lock
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.stages.train.rank_zero import sole_trainer
from ssmlab.system.locks import lock

HOLDER = """
import sys, time
from pathlib import Path
from ssmlab.system.locks import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
USERS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    "prepare": lambda folder: workdir_beside(folder / "toy.safetensors"),
    "fetch": lambda folder: folder_lock(folder, silence),
    "train": lambda folder: sole_trainer(folder / "lock", "ads"),
}


def test_a_lock_has_one_owner_until_it_is_closed(tmp_path: Path) -> None:
    with lock(tmp_path / "file"), pytest.raises(BlockingIOError):
        lock(tmp_path / "file", wait=False)
    lock(tmp_path / "file", wait=False).close()


def test_a_lock_does_not_change_the_content_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12")
    with lock(tmp_path / "file"):
        assert (tmp_path / "file").read_text() == "12"


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "file"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            lock(tmp_path / "file", wait=False)
        process.send_signal(signal.SIGKILL)
        lock(tmp_path / "file").close()


@pytest.mark.parametrize("user", USERS)
def test_every_lock_opens_its_file_for_writing_as_nfs_demands(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There flock is fcntl's lock (flock(2), NFS details): an exclusive one needs a file that is open for writing."""
    asked = 0

    def flock(file: Any, operation: int) -> None:
        nonlocal asked
        asked += 1
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", flock)
    with USERS[user](tmp_path):
        assert asked


@pytest.mark.parametrize("user", USERS)
def test_a_file_system_without_locks_is_named(user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre is when it is mounted without them."""

    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=f"^{tmp_path}.*its file system has no locks: Function not implemented"):
        if user == "fetch":
            fetch(look_up("mnist"), tmp_path)
        with USERS[user](tmp_path):
            pass
    assert not any(each.is_dir() for each in tmp_path.glob(".*"))

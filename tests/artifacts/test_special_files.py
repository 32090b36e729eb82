"""Pipes, devices and folders where a file is expected: every reader refuses them at once, in one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.core.files import read_file, sha256_file

SCRIPT = """
import sys
from pathlib import Path
from ssmlab.artifacts.checkpoint import load
from ssmlab.artifacts.heartbeat import read_heartbeat
from ssmlab.artifacts.history import read_history
from ssmlab.core.digest import read_sealed_json
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_json
from ssmlab.data.dataset import load_data
from ssmlab.ingest.archives import open_members
from ssmlab.project.dvc_files import read_lock
from ssmlab.project.history_reader import HistoryReader
from ssmlab.project.log import LogFollower
from ssmlab.project.params_file import load_params

path = Path(sys.argv[1])
assert read_heartbeat(path) is None
assert LogFollower(path).poll() == []
HistoryReader(path).poll()
for read in (load, load_data, load_params, read_history, read_lock):
    try:
        read(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1, str(error)
    else:
        raise AssertionError(read.__name__)
for read, arguments in ((read_json, "xy"), (read_sealed_json, "xy"), (open_members, [path.parent])):
    try:
        read(path, *arguments)
    except UserError as error:
        assert len(str(error).splitlines()) == 1, str(error)
    else:
        assert read is open_members and path.is_dir()
"""


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


SPECIAL: dict[str, Callable[[Path], None]] = {"pipe": os.mkfifo, "folder": Path.mkdir, "device": device}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_only_regular_files_are_read_or_hashed(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    for read in (read_file, sha256_file):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            read(tmp_path / "x")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    endless(tmp_path / "x")
    with pytest.raises(OSError, match="it is larger than 2048 MiB"):
        read_file(tmp_path / "x")
    (tmp_path / "y").write_bytes(b"12345")
    assert read_file(tmp_path / "y", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_file(tmp_path / "y", 4)


@pytest.mark.parametrize("kind", SPECIAL)
def test_every_reader_refuses_pipes_devices_and_folders_at_once(kind: str, tmp_path: Path) -> None:
    """A link to /dev/zero took all memory, a pipe waited for ever."""
    SPECIAL[kind](tmp_path / "x")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "x")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit_memory)
    assert (result.returncode, result.stderr) == (0, "")


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

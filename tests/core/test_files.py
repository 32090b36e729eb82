"""Atomic writes under every failure."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.core import files
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, read_json, sha256_file, sha256_text, write_atomic, write_changed
from ssmlab.core.json_text import readable_json


def test_write_creates_the_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    write_atomic(path, "é\n", durable=False)
    assert path.read_bytes() == "é\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("read", [read_file, sha256_file])
def test_a_read_that_fails_names_its_file(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()

    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def fileno(self) -> int:
            return handle

        def readinto(self, buffer: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "open_regular", lambda path: io.BufferedReader(Failing()))
    with path.open() as file:
        handle = file.fileno()
        with pytest.raises(OSError, match="Input/output error") as caught:
            read(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "pathlib.Path.open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failing_call_leaves_the_old_file_and_no_other(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    failures = []

    def fail(*_: object, **__: object) -> None:
        failures.append(call)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(call, fail)
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert failures, f"{call} was never called"
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_drive_without_modes_that_syncs_no_folders_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, sync = [], os.fsync

    def sync_files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            refused.append("fsync")
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    def keep_mode(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.fsync", sync_files_only)
    monkeypatch.setattr("pathlib.Path.chmod", keep_mode)
    write_atomic(tmp_path / "file", b"new")
    assert (refused, (tmp_path / "file").read_bytes()) == (["fsync"], b"new")


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_ctrl_c_leaves_the_old_file_and_no_other(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_the_folder_is_left_alone_and_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "below", b"")
    assert (tmp_path / "file").read_bytes() == b"in the way"


def test_the_bytes_are_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_sync(handle: int) -> None:
        status = os.fstat(handle)
        calls.append("sync folder" if status.st_ino == tmp_path.stat().st_ino else f"sync {status.st_size} bytes")
        fsync(handle)

    def record_replace(source: object, target: object) -> None:
        calls.append("rename")
        replace(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr("os.fsync", record_sync)
    monkeypatch.setattr("os.replace", record_replace)
    write_atomic(path, b"12345")
    assert calls == ["sync 5 bytes", "rename", "sync folder"]
    calls.clear()
    write_atomic(path, b"12345", durable=False)
    assert calls == ["rename"]


def test_only_files_that_change_are_written_and_their_folder_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plots"
    contents: dict[Path, bytes | str] = {folder / f"{i}.csv": f"é{i}\n" for i in range(5)}
    write_changed(contents)
    assert {path: path.read_text() for path in folder.iterdir()} == contents
    before = {path: path.stat().st_ino for path in contents}
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    changed = {folder / "1.csv": b"new", folder / "2.csv": b"x", folder / "new.csv": b""}
    write_changed({**contents, **changed})
    assert {path: path.read_bytes() for path in changed} == changed
    assert [path.name for path in contents if path.stat().st_ino == before[path]] == ["0.csv", "3.csv", "4.csv"]
    assert len(synced) == 4 and synced[-1] == folder.stat().st_ino
    write_changed({folder / "1.csv": b"newer", folder / "2.csv": b"x"}, durable=False)
    assert ((folder / "1.csv").read_bytes(), len(synced)) == (b"newer", 4)


def test_a_failing_sync_of_the_folder_is_reported_with_its_consequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("ssmlab.core.files.sync_folder", fail)
    for write in (lambda path: write_atomic(path, b"new"), lambda path: write_changed({path: b"new"})):
        with pytest.raises(UserError, match="a power cut could still undo it"):
            write(tmp_path / "file")
        (tmp_path / "file").unlink()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_the_mode_follows_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "ours", b"")
        (tmp_path / "plain").touch()
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


WRITER = """
import sys
from pathlib import Path
from ssmlab.core.files import write_atomic
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_atomic(path, bytes([letter]) * 300_000, durable=False)
"""


def test_readers_and_kill_9_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"a" * 300_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = set()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            content = path.read_bytes()
            assert len(content) == 300_000
            seen |= set(content)
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() in (b"a" * 300_000, b"b" * 300_000)
    assert seen <= set(b"ab")


def test_hashes_are_those_of_hashlib(tmp_path: Path) -> None:
    """Of 'abc': FIPS 180-2, appendix B.1."""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_text("abc") == known
    assert sha256_file(tmp_path / "abc") == known
    assert sha256_text("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


def test_read_json_gives_the_value_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_atomic(path, readable_json({"accuracy": 0.5}))
    assert read_json(path, "results", "run it") == {"accuracy": 0.5}
    for content in (b"", b'{"accuracy": 0.', b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"results\.json.*the results of run ads.*run `ssmlab attack ads`"
        ) as caught:
            read_json(path, "the results of run ads", "run `ssmlab attack ads`")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"missing\.json: not found.*the results.*do this"):
        read_json(tmp_path / "missing.json", "the results", "do this")
    with pytest.raises(UserError, match="do this"):
        read_json(tmp_path, "the results", "do this")


KILLED_WRITER = """
import os, sys
from pathlib import Path
from ssmlab.core import files
path = Path(sys.argv[1])
os.fsync = lambda handle: os.kill(os.getpid(), 9)
files.write_atomic(path, b"half")
"""


def test_the_next_write_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / ".file2.abc.tmp"
    other.write_bytes(b"of another file")
    subprocess.run([sys.executable, "-c", KILLED_WRITER, path], check=False)
    assert len(list(tmp_path.glob(".file.*.tmp"))) == 1
    write_atomic(path, b"new")
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes write one file: neither takes the other's temporary file for a leftover."""
    path, fsync = tmp_path / "file", os.fsync
    waiting, go_on = threading.Event(), threading.Event()

    def wait_once(handle: int) -> None:
        if not waiting.is_set():
            waiting.set()
            assert go_on.wait(10)
        fsync(handle)

    monkeypatch.setattr("os.fsync", wait_once)
    slow = threading.Thread(target=write_atomic, args=(path, b"slow"))
    slow.start()
    assert waiting.wait(10)
    write_atomic(path, b"fast")
    go_on.set()
    slow.join()
    assert path.read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, taken, lock = tmp_path / "file", list[Path](), fcntl.flock

    def remove_first(file: object, operation: int) -> None:
        if not taken and operation == fcntl.LOCK_EX:
            taken.extend(tmp_path.glob(".file.*.tmp"))
            taken[0].unlink()
        lock(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr("fcntl.flock", remove_first)
    write_atomic(path, b"new")
    assert taken
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_reading_a_small_file_takes_no_memory_for_the_largest_one_allowed(tmp_path: Path) -> None:
    file = tmp_path / "small"
    file.write_bytes(b"few")
    tracemalloc.start()
    try:
        assert read_file(file, largest=1 << 30) == b"few"
        assert tracemalloc.get_traced_memory()[1] < 1 << 22  # Python's buffer has the drive's block size: 1 MiB on NFS
    finally:
        tracemalloc.stop()

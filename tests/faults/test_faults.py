"""Faults of the disk in every stage, a short sweep; SSMLAB_FAULT_SECONDS makes it as long (`make faults`)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.inject_library import CHANGE_KINDS, KINDS, LIBRARY, build
from tests.faults.outcomes import Ended, is_one_of, wrong_message
from tests.faults.stages import STAGES

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD as it is used here is Linux's"),
    pytest.mark.skipif(
        shutil.which("cc") is None, reason="needs a C compiler (cc) for the library that injects faults"
    ),
]

WRITER = """
import ctypes, os, sys
folder, at, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ctypes.CDLL(os.environ["SSMLAB_FAULTS"]).fault_arm(os.fsencode(folder), at, kind)
os.chdir(folder)
handle = os.open("a", os.O_WRONLY | os.O_CREAT)  # change 1
print(os.write(handle, b"12345678"), flush=True)  # change 2; this print is none, since it is not below the folder
os.fsync(handle)  # change 3
os.rename("a", "b")  # change 4
os.unlink("b")  # change 5
"""

READER = """
import ctypes, mmap, os, sys
from pathlib import Path
from ssmlab.system.bad_pages import ending_at_bad_page
folder, at, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
library = ctypes.CDLL(os.environ["SSMLAB_FAULTS"])
library.fault_struck.restype = ctypes.c_char_p
library.fault_arm(os.fsencode(folder), at, kind)
try:
    os.listdir(folder)  # read 1, opening 1
    handle = os.open(folder + "/a", os.O_RDONLY)  # read 2, opening 2
    os.read(handle, 4)  # read 3
    mapped = mmap.mmap(handle, 8, prot=mmap.PROT_READ)  # read 4, map 1
    with ending_at_bad_page(lambda path: os.write(1, path.encode())):
        mapped[0]
except OSError as error:
    print(error.errno, library.fault_struck().decode())
print(library.fault_disarm(), "places")
"""


def run_with_fault(script: str, folder: Path, library: Path, at: int, kind: int) -> subprocess.CompletedProcess[str]:
    """A script whose `at`-th change or read of the folder is broken."""
    environment = {**os.environ, LIBRARY: str(library), "LD_PRELOAD": str(library)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-c", script, str(folder), str(at), str(kind + 1)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_the_library_breaks_the_requested_change(tmp_path: Path, at: int) -> None:
    library, folder = build(tmp_path), tmp_path / "watched"
    for kind, name in enumerate(CHANGE_KINDS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        ended = run_with_fault(WRITER, folder, library, at, kind)
        expected = "OSError: [Errno 5]" if "EIO" in name else "OSError: [Errno 28]"
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        if at == 6:  # there are only five
            assert (ended.returncode, ended.stdout, left) == (0, "8\n", {})
        elif "killed" in name:
            assert ended.returncode == -signal.SIGKILL
            assert left == [{}, {"a": b"1234" if "write" in name else b""}, {"a": b"12345678"}, {"a": b"12345678"},
                            {"b": b"12345678"}][at - 1]  # fmt: skip
        elif at == 5 and "EIO" not in name:
            assert (ended.returncode, left) == (0, {})  # a full disk lets files be removed
        elif at == 2 and "short" in name:
            assert ended.stdout == "4\n"
            assert expected in ended.stderr  # of the fsync that follows
        else:
            assert expected in ended.stderr
            assert len(left) == (0 if at == 1 else 1)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("EIO at a read", ["5 {}", "5 {}/a", "5 {}/a", "5 {}/a"]),
        ("access denied at an opening", ["13 {}", "13 {}/a"]),
        ("a bad page of a map", ["{}/a"]),
    ],
)
def test_the_library_breaks_the_requested_read(tmp_path: Path, kind: str, broken: list[str]) -> None:
    library, folder = build(tmp_path), tmp_path / "watched"
    folder.mkdir()
    (folder / "a").write_bytes(b"12345678")
    for at, expected in enumerate(broken, start=1):
        ended = run_with_fault(READER, folder, library, at, KINDS.index(kind))
        assert ended.stdout.splitlines()[0] == expected.format(folder)
        assert ended.returncode == (1 if "page" in kind else 0)
    ended = run_with_fault(READER, folder, library, len(broken) + 1, KINDS.index(kind))
    assert (ended.returncode, ended.stdout) == (0, f"{len(broken)} places\n")


@pytest.mark.parametrize(
    ("ended", "is_wrong"),
    [
        (Ended(0, ""), False),
        (Ended(1, "error: a: cannot be written; run it again\n"), False),
        (Ended(-signal.SIGKILL, ""), False),
        (Ended(1, ""), True),
        (Ended(1, "error: a\nerror: b\n"), True),
        (Ended(1, "error: " + "a" * 1000 + "\n"), True),
        (Ended(0, "Traceback (most recent call last):\n"), True),
        (Ended(-signal.SIGSEGV, ""), True),
        (Ended(1, "error: params.yaml: cannot be read\n", struck="/w/project/params.yaml"), False),
        (Ended(1, "error: Input/output error\n", struck="/w/project/params.yaml"), True),
        (Ended(1, "error: data/a: cannot be written\n", struck="/w/project/data/.a.9f.tmp/.lock"), False),
        (Ended(1, "error: Input/output error\n", struck="/w/project/data/.a.9f.tmp/.lock"), True),
    ],
)
def test_the_harness_sees_a_message_that_is_not_one_line(ended: Ended, is_wrong: bool) -> None:
    assert bool(list(wrong_message(ended))) == is_wrong


def test_the_harness_takes_a_file_with_other_bytes_for_damaged() -> None:
    old, new = {"a": b"old"}, {"a": b"new", "b": b""}
    assert is_one_of("a", b"old", [old, new]) and is_one_of("a", b"new", [old, new])
    assert not is_one_of("a", b"ne", [old, new])
    assert not is_one_of("c", b"", [old, new])


@pytest.mark.slow
@pytest.mark.parametrize("only", ["changes", "reads"])
def test_after_any_fault_every_output_is_the_old_or_the_new_one_and_the_next_run_succeeds(only: str) -> None:
    seconds = os.environ.get("SSMLAB_FAULT_SECONDS", "20")
    seed = os.environ.get("SSMLAB_FAULT_SEED", "0")
    command = [sys.executable, "-m", "tests.faults.harness", "--seconds", seconds, "--seed", seed, "--only", only]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failures"] == []
    assert found["injections"] >= harness.LEAST
    assert set(found["places"]) == {stage.name for stage in STAGES}
    for stage in STAGES:
        places = dict(zip(KINDS, found["places"][stage.name], strict=True))
        assert places["EIO at a read"] > 5
        assert places["EIO once"] > 5 or not stage.outputs

"""The torture of the data readers, short; SSMLAB_TORTURE=SECONDS makes it as long (`make torture`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ingest.layouts import as_folder
from tests.torture import data_readers
from tests.torture.data_readers import PREPARED, Case, outcome, prepared, read, seeds

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits need /proc")


def test_the_files_that_are_damaged_are_sound_before(tmp_path: Path) -> None:
    for number, (name, files) in enumerate(seeds().items()):
        workdir = tmp_path / f"workdir {number}"
        workdir.mkdir()
        read(Case(as_folder(files, tmp_path / str(number)), name), workdir)
    (tmp_path / PREPARED).write_bytes(prepared())
    read(Case(tmp_path / PREPARED, "prepared"), tmp_path)


@pytest.mark.parametrize(
    ("reader", "found"),
    [
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (lambda *_: os.write(1, b"!"), "printed"),
        (lambda *_: bytearray(1 << 30), "MemoryError"),
        (lambda case, _: (case.path.parent / "evil").write_text("1"), "left"),
    ],
)
def test_the_harness_sees_every_way_to_fail(reader, found: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(data_readers, "read", reader)
    told = outcome(Case(as_folder({"x": b""}, tmp_path / "set"), "x"), tmp_path)
    assert found in told


def test_the_harness_ends_a_reader_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_readers, "CPU_SECONDS", 0)
    monkeypatch.setattr(data_readers, "read", lambda *_: sum(range(10**12)))
    assert "killed by SIG" in outcome(Case(as_folder({"x": b""}, tmp_path / "set"), "x"), tmp_path)


def test_every_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    limits = {
        "--seconds": os.environ.get("SSMLAB_TORTURE", "4"),
        "--seed": os.environ.get("SSMLAB_TORTURE_SEED", "0"),
        "--cases": "10000000",
        "--keep": str(tmp_path / "kept"),
    }
    command = [sys.executable, "-m", "tests.torture.data_readers", *(word for item in limits.items() for word in item)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    found = json.loads(result.stdout)
    assert found["failures"] == []
    assert found["cases"] > 10

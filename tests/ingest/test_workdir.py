"""Workdirs are removed when their owner is done or dead, and never while it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest import workdir as workdir_module
from ssmlab.ingest.workdir import LOCK_FILE, workdir_beside
from ssmlab.system.locks import lock

OWNER = """
import sys, time
from pathlib import Path
from ssmlab.ingest.workdir import workdir_beside
with workdir_beside(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def test_a_workdir_is_made_beside_the_target_and_removed_after(tmp_path: Path) -> None:
    path = tmp_path / "new" / "toy.safetensors"
    with workdir_beside(path) as folder:
        assert folder.parent == path.parent
        assert [each.name for each in folder.iterdir()] == [LOCK_FILE]
        (folder / "spool").mkdir()
        (folder / "spool" / "file").write_text("much")
    assert list(path.parent.iterdir()) == []


def test_a_workdir_is_removed_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), workdir_beside(tmp_path / "toy"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_workdirs_of_one_target_do_not_disturb_each_other(tmp_path: Path) -> None:
    with workdir_beside(tmp_path / "toy") as one, workdir_beside(tmp_path / "toy") as two:
        assert one != two
        assert hidden(tmp_path) == sorted([one, two])
    assert hidden(tmp_path) == []


def test_leftovers_of_dead_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    with subprocess.Popen([sys.executable, "-c", OWNER, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with workdir_beside(path):
            assert (left / "half").exists()  # its owner lives
        os.kill(process.pid, signal.SIGKILL)
    assert (left / "half").exists()
    (tmp_path / ".toy.safetensors.abc.tmp").write_text("left by a killed write_atomic")
    (tmp_path / ".renamed.safetensors.abc.tmp").mkdir()
    others = [tmp_path / ".other.safetensors.abc.tmp", tmp_path / "toy.safetensors.bak", path]
    for other in others:
        other.write_text("not to be touched")
    with workdir_beside(path) as folder:
        assert set(tmp_path.iterdir()) == {*others, folder}


@pytest.mark.parametrize("when", ["before it is locked", "while it is locked"])
def test_a_workdir_removed_while_it_is_made_is_made_again(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def lock_late(path: Path, **settings: bool) -> IO[str]:
        """Another process's sweep comes in between, once."""
        first = not taken
        taken.append(path)
        if first and when == "before it is locked":
            shutil.rmtree(path.parent)
        owned = lock(path, **settings)
        if first and when == "while it is locked":
            shutil.rmtree(path.parent)
        return owned

    monkeypatch.setattr(workdir_module, "lock", lock_late)
    with workdir_beside(tmp_path / "toy") as folder:
        assert len(taken) == 2
        assert (folder / LOCK_FILE).exists()
        with pytest.raises(BlockingIOError):
            lock(folder / LOCK_FILE, wait=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match=r"file/toy: cannot be written .*file is not a folder, move it away"),
        workdir_beside(tmp_path / "file" / "toy"),
    ):
        pass

"""DVC's commands: what they say when they fail, and a cache that was deleted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.project.dvc_cache import refill_cache
from ssmlab.project.dvc_command import reason_in

PIPELINE = """
stages:
  one:
    cmd: mkdir -p out && echo again >> log && echo 1 > out/a && echo 2 > out/b
    outs: [out: {persist: true}]
  two:
    cmd: cat out/a > file && echo again >> log
    deps: [out]
    outs: [file: {persist: true}]
"""


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "ERROR: unexpected error - no rights\n\nHaving any troubles? Hit us up at ...\n",
            "no rights",
        ),
        ("warning\nERROR: first\nERROR: second\n", "second"),
        ("Traceback\nValueError: x\n", "ValueError: x"),
        ("", ""),
    ],
)
def test_the_reason_of_dvc_is_its_error_and_not_what_it_says_afterwards(stderr: str, reason: str) -> None:
    assert reason_in(stderr).endswith(reason)


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def project_of_two_stages(tmp_path: Path) -> Path:
    """A pipeline that has run; every stage that runs adds a line to the file `log`."""
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    dvc(tmp_path, "repro")
    return tmp_path


def test_nothing_runs_again_after_the_cache_was_deleted(project_of_two_stages: Path) -> None:
    root = project_of_two_stages
    lock = (root / "dvc.lock").read_bytes()
    assert refill_cache(root) is None  # it is there
    shutil.rmtree(root / ".dvc" / "cache")
    assert refill_cache(root) == "DVC's cache was gone; 2 outputs that are still here were put into it again"
    assert (root / "dvc.lock").read_bytes() == lock
    dvc(root, "repro")
    assert (root / "log").read_text() == "again\nagain\n"


def test_a_cache_elsewhere_is_not_taken_for_a_deleted_one(
    project_of_two_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the whole pipeline before every launch would take seconds."""
    root = project_of_two_stages
    (root / ".dvc" / "cache").rename(root / "elsewhere")
    dvc(root, "cache", "dir", "elsewhere")
    monkeypatch.setattr("dvc.repo.Repo", None)
    assert refill_cache(root) is None


def test_an_output_that_has_changed_is_not_put_into_the_cache_and_its_stage_runs_again(
    project_of_two_stages: Path,
) -> None:
    root = project_of_two_stages
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "file").write_text("edited")
    said = refill_cache(root)
    assert said is not None and "; 1 outputs" in said
    dvc(root, "repro")
    assert (root / "file").read_text() == "1\n"
    assert (root / "log").read_text() == "again\n" * 3

"""Outputs of stages that ran outside DVC become current, as after `dvc commit --force`, by one write of dvc.lock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Progress
from ssmlab.project import register as module
from ssmlab.project.register import register

DVC_YAML = """\
stages:
  train:
    foreach: ${runs}
    do:
      cmd: cp data ${key}.out
      params: [lr, "runs.${key}"]
      deps: [data]
      outs:
        - ${key}.out: {persist: true}
  report:
    cmd: cat *.out > report
    deps: [a.out]
    outs: [report]
"""
STAGES = ["train@a", "train@b"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A pipeline of two runs that have been carried out, and a report that has not."""
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text("lr: 0.1\nruns: {a: {seed: 0}, b: {seed: 1}}\n")
    for name in ("data", "a.out", "b.out"):
        (tmp_path / name).write_text(name)
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    return tmp_path


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=True).stdout


def test_the_lock_file_is_that_of_dvc_commit_byte_for_byte(project: Path) -> None:
    dvc(project, "commit", "--force", *STAGES)
    expected = (project / "dvc.lock").read_bytes()
    (project / "dvc.lock").unlink()
    register(project, STAGES)
    assert (project / "dvc.lock").read_bytes() == expected
    assert set(json.loads(dvc(project, "status", "--json"))) == {"report"}


def test_entries_of_other_stages_stay_and_changed_ones_are_replaced(project: Path) -> None:
    register(project, ["train@a"])
    (project / "a.out").write_text("made anew")
    (project / "b.out").write_text("also made anew")
    register(project, ["train@b"])
    assert set(json.loads(dvc(project, "status", "--json"))) == {"train@a", "report"}
    register(project, STAGES)
    assert set(json.loads(dvc(project, "status", "--json"))) == {"report"}


def test_outputs_come_back_from_the_cache_after_they_were_removed(project: Path) -> None:
    register(project, STAGES)
    (project / "a.out").unlink()
    dvc(project, "checkout", "train@a")
    assert (project / "a.out").read_text() == "a.out"


def test_a_missing_output_is_one_line_and_leaves_the_lock_file_as_it_was(project: Path) -> None:
    register(project, ["train@a"])
    before = (project / "dvc.lock").read_bytes()
    (project / "b.out").unlink()
    with pytest.raises(UserError, match=r"b\.out"):
        register(project, STAGES)
    assert (project / "dvc.lock").read_bytes() == before


def test_a_stage_that_dvc_yaml_does_not_have_is_named(project: Path) -> None:
    with pytest.raises(UserError, match="no stage train@c"):
        register(project, ["train@a", "train@c"])
    assert not (project / "dvc.lock").exists()


def test_the_lock_file_is_written_once_for_all_stages(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC writes it once for each, which takes minutes for a study of a hundred runs."""
    written: list[Path] = []
    monkeypatch.setattr(module, "write_atomic", lambda path, content: written.append(path))
    register(project, STAGES)
    assert written == [project / "dvc.lock"]


def test_every_registered_stage_is_reported(project: Path) -> None:
    events: list[Event] = []
    register(project, STAGES, events.append)
    assert [(event.done, event.total) for event in events if isinstance(event, Progress)] == [(1, 2), (2, 2)]

"""DVC's own files: damage by a signal or a full disk is noticed and repaired, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.project import dvc_files
from ssmlab.project.dvc_files import (
    check_dvc_reads,
    check_free_disk,
    check_links,
    dvc_at_work,
    keep_lock,
    kept_lock,
    lock_owner,
    outputs_asked,
    repair_busy_paths,
    repair_lock,
)
from ssmlab.project.lock_check import lock_problem

STAGES = ("prepare", "train@ssm", "train@ads", "attack@ssm", "attack@ads", "analyze", "report")


def lock_text(stages: tuple[str, ...] = STAGES, md5: str = "0") -> str:
    """A lock file as DVC writes it."""
    parts = ["schema: '2.0'\nstages:\n"]
    for stage in stages:
        out = "data/smoke.safetensors" if stage == "prepare" else f"out/{stage}"
        parts.append(
            f"  {stage}:\n    cmd: python -m ssmlab {stage}\n    params:\n      params.yaml:\n        study: smoke\n"
            f"    outs:\n    - path: {out}\n      hash: md5\n      md5: '{md5}'\n      size: 12\n"
        )
        if stage == "report":
            parts.append(
                "    - path: out/figures\n      hash: md5\n      md5: 0a.dir\n      size: 34\n      nfiles: 2\n"
            )
    return "".join(parts)


WHOLE = lock_text().encode()


def test_a_complete_lock_file_has_no_problem_and_names_its_study() -> None:
    assert lock_problem(WHOLE) is None
    assert lock_problem(WHOLE, WHOLE) is None
    assert lock_problem(WHOLE, lock_text(STAGES[:3]).encode()) is None
    assert lock_problem(lock_text(("prepare", "other")).encode(), WHOLE) is None  # another pipeline, not a cut one
    assert lock_owner(WHOLE) == "smoke"
    assert lock_owner(b"") is lock_owner(None) is lock_owner(lock_text(("analyze",)).encode()) is None


@pytest.mark.parametrize(
    "both",
    [WHOLE + lock_text(md5="1").partition("stages:\n")[2].encode(), WHOLE + WHOLE.partition(b"\n")[2]],
    ids=["stages", "sections"],
)
def test_a_merge_that_kept_both_sides_is_a_damaged_lock_file(both: bytes) -> None:
    """DVC refuses it, and it was kept as the last good copy."""
    assert lock_problem(both) == "it has a stage twice"


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_a_cut_lock_file_is_noticed_wherever_it_is_cut(size: int) -> None:
    assert lock_problem(WHOLE[:size], WHOLE) is not None


def test_a_lock_file_cut_at_a_line_end_inside_its_last_stage_is_noticed_without_a_copy() -> None:
    lines = lock_text(("prepare", "train@ssm")).encode().splitlines(keepends=True)
    last = lines.index(b"  train@ssm:\n")
    cuts = [b"".join(lines[:end]) for end in range(last + 2, len(lines))]
    asked = {"train@ssm": 1}
    assert all(lock_problem(cut, asked=asked.get) for cut in cuts)
    assert lock_problem(b"".join(lines), asked=asked.get) is None


def test_missing_outputs_are_not_damage_if_dvc_yaml_does_not_name_them(tmp_path: Path) -> None:
    fewer = WHOLE[: WHOLE.index(b"    - path: out/figures")]
    assert "1 of 2 outputs" in str(lock_problem(fewer, WHOLE))
    pipeline = tmp_path / "dvc.yaml"
    pipeline.write_text("stages:\n  report: {cmd: x, outs: [out/report, out/figures]}\n")
    assert lock_problem(fewer, WHOLE, outputs_asked(tmp_path)) is not None
    pipeline.write_text("stages:\n  report: {cmd: x, outs: [out/report]}\n")
    assert lock_problem(fewer, WHOLE, outputs_asked(tmp_path)) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\0" * 4096, WHOLE + b"\xff\n", WHOLE.replace(b"    cmd", b"<<<<<<< HEAD\n    cmd", 1)]
)
def test_a_file_that_is_not_a_lock_file_is_a_problem(content: bytes) -> None:
    assert lock_problem(content) is not None


def test_a_damaged_lock_file_is_put_back_and_its_bytes_are_kept(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_bytes(WHOLE)
    keep_lock(tmp_path)
    assert kept_lock("smoke", tmp_path).read_bytes() == WHOLE
    assert repair_lock(tmp_path, "smoke") is None
    for size in (0, 500, 300):
        lock.write_bytes(WHOLE[:size])
        keep_lock(tmp_path)  # what is damaged does not replace the copy
        assert "the copy from after the last stage was restored" in str(repair_lock(tmp_path, "smoke"))
        assert lock.read_bytes() == WHOLE
    assert (tmp_path / "dvc.lock.bak").read_bytes() == WHOLE[:500]
    assert (tmp_path / "dvc.lock.bak2").read_bytes() == WHOLE[:300]


def test_a_damaged_lock_file_without_a_copy_is_moved_away(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(WHOLE[:100])
    assert "run the stages again" in str(repair_lock(tmp_path, "smoke"))
    assert not (tmp_path / "dvc.lock").exists()
    assert (tmp_path / "dvc.lock.bak").read_bytes() == WHOLE[:100]


def test_a_lock_file_in_the_middle_of_a_merge_is_left_to_its_owner(tmp_path: Path) -> None:
    merged = WHOLE.replace(b"    cmd", b"<<<<<<< HEAD\n    cmd", 1)
    (tmp_path / "dvc.lock").write_bytes(merged)
    with pytest.raises(UserError, match="merge markers; resolve the merge"):
        repair_lock(tmp_path, "smoke")
    assert (tmp_path / "dvc.lock").read_bytes() == merged


def test_a_lock_file_that_was_removed_stays_removed(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(WHOLE)
    keep_lock(tmp_path)
    (tmp_path / "dvc.lock").unlink()
    assert repair_lock(tmp_path, "smoke") is None
    keep_lock(tmp_path)
    assert not (tmp_path / "dvc.lock").exists()


def test_a_lock_file_that_cannot_be_read_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").mkdir()
    with pytest.raises(UserError, match=r"dvc\.lock: cannot be read"):
        repair_lock(tmp_path, "smoke")


@pytest.fixture
def busy_file(tmp_path: Path) -> Path:
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    return file


@pytest.mark.parametrize("content", ["", "{", '{"read": {"/a": [{"pid": 1, "cm', "[]", '{"read": 3}', "[" * 3000])
def test_a_damaged_list_of_busy_paths_is_removed(tmp_path: Path, busy_file: Path, content: str) -> None:
    busy_file.write_text(content)
    assert "damaged and was removed" in str(repair_busy_paths(tmp_path))
    assert not busy_file.exists()
    assert repair_busy_paths(tmp_path) is None


def test_a_damaged_list_of_busy_paths_is_left_while_dvc_works(
    tmp_path: Path, busy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_file.write_text("{")
    monkeypatch.setattr(dvc_files, "dvc_at_work", lambda root: "`dvc repro` (process 4711)")
    with pytest.raises(UserError, match="4711"):
        repair_busy_paths(tmp_path)
    assert busy_file.exists()


def test_a_good_list_of_busy_paths_is_left_alone(tmp_path: Path, busy_file: Path) -> None:
    busy_file.write_text(json.dumps({"read": {}, "write": {"/a": {"pid": 1, "cmd": "dvc repro"}}}))
    assert repair_busy_paths(tmp_path) is None
    assert busy_file.exists()
    assert dvc_at_work(tmp_path) is None  # process 1 is not DVC


def test_a_plain_dvc_command_in_the_project_is_seen_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "dvc"
    script.parent.mkdir()
    script.write_text("print('runs', flush=True); input()")
    here = tmp_path / "project"
    here.mkdir()
    command = [sys.executable, script, "repro", "ads"]
    with subprocess.Popen(command, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # for a moment after its start, the system knows no command line of a process
            assert dvc_at_work(here) == f"`dvc repro ads` (process {process.pid})"
            assert dvc_at_work(tmp_path / "bin") is None
            listed = {"write": {"/x": {"pid": process.pid, "cmd": "dvc repro\x1b[2J"}}, "read": {}}
            other = tmp_path / "other" / ".dvc" / "tmp"
            other.mkdir(parents=True)
            (other / "rwlock").write_text(json.dumps(listed))
            assert dvc_at_work(tmp_path / "other") == f"`dvc repro\\x1b[2J` (process {process.pid})"
        finally:
            process.kill()


def test_a_nearly_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 3_000_000

    check_free_disk(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Full)
    with pytest.raises(UserError, match="only 3 MB are free"):
        check_free_disk(tmp_path)


@pytest.mark.parametrize("link", ["models", "results", "data", "models/smoke"])
def test_an_output_behind_a_link_is_refused_in_a_git_checkout(tmp_path: Path, link: str) -> None:
    (tmp_path / "scratch").mkdir()
    root = tmp_path / "project"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(tmp_path / "scratch")
    check_links(root, "smoke")  # without git DVC takes it
    (root / ".git").mkdir()
    with pytest.raises(UserError, match=f"{link}: it is a link"):
        check_links(root, "smoke")


def test_a_params_file_that_only_we_can_read_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("study: mine\nmeasures: [ro_gap:pgd]\n")
    with pytest.raises(UserError, match=r"params\.yaml: DVC cannot read it at line 2 .*; put the value in quotes"):
        check_dvc_reads(file)
    file.write_text('study: mine\nmeasures: ["ro_gap:pgd"]\n')
    check_dvc_reads(file)
    check_dvc_reads(tmp_path / "none.yaml")

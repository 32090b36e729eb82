"""What the provenance of an output says about the checkout that made it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ssmlab.artifacts.provenance import git_state


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of a package, a pipeline and params."""
    (tmp_path / "ssmlab").mkdir()
    for name in ("ssmlab/a.py", "dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text(name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_checkout_has_a_commit_and_no_changes(checkout: Path) -> None:
    assert git_state(checkout) == (git(checkout, "rev-parse", "HEAD"), None)
    (checkout / "params.yaml").write_text("params are recorded completely, so they are not a change of the code")
    assert git_state(checkout)[1] is None


def test_a_folder_that_is_no_checkout_has_neither(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)


def test_every_state_of_changed_code_has_its_own_hash(checkout: Path) -> None:
    states = []
    for name, content in (
        ("ssmlab/a.py", "changed"),
        ("ssmlab/a.py", "changed again"),
        ("ssmlab/new.py", "a file that git does not know"),
        ("ssmlab/new.py", "and its new content"),
        ("ssmlab/other.py", ""),
        ("dvc.yaml", None),
    ):
        file = checkout / name
        file.unlink() if content is None else file.write_text(content)
        states.append(git_state(checkout)[1])
    assert None not in states and len(set(states)) == len(states)
    git(checkout, "add", "--all")
    assert git_state(checkout)[1] == states[-1]
    git(checkout, "commit", "--quiet", "-m", "second")
    assert git_state(checkout)[1] is None


def test_reading_the_state_does_not_write_to_the_repository(checkout: Path) -> None:
    index = checkout / ".git" / "index"
    before = index.read_bytes()
    os.utime(checkout / "ssmlab" / "a.py", ns=(0, 0))  # git would refresh its index, and lock it for that
    assert git_state(checkout)[1] is None
    assert index.read_bytes() == before


def test_a_project_in_a_folder_of_a_checkout_has_the_changes_of_its_own_code(checkout: Path) -> None:
    inner = checkout / "ssmlab"
    (inner / "dvc.yaml").write_text("its pipeline")
    before = git_state(inner)[1]
    (checkout / "dvc.yaml").write_text("not its pipeline")
    assert git_state(inner)[1] == before is not None
    (inner / "dvc.yaml").write_text("its changed pipeline")
    assert git_state(inner)[1] != before


@pytest.mark.parametrize("name", ["next\u0085line", "two\nlines", "line\u2028separator"])
def test_a_checkout_may_lie_in_a_folder_with_any_name(checkout: Path, name: str) -> None:
    moved = checkout.rename(checkout.parent / name)
    assert git_state(moved) == (git(moved, "rev-parse", "HEAD"), None)
    (moved / "ssmlab/a.py").write_text("changed")
    assert git_state(moved)[1] is not None

"""Every tutorial is run from its first to its last block in a new copy of the project, as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((PROJECT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


class Block(NamedTuple):
    """A fenced block: its language, the file that it is the text of if it has a title, and its text."""

    language: str
    title: str
    text: str


def blocks(tutorial: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(tutorial.read_text(encoding="utf-8"))]


def run(folder: Path, *command: str) -> None:
    """A command with the copy's own code; its output is shown if it fails."""
    scripts = folder / ".scripts"
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{scripts}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path: Path, copy_project: Callable[[Path], None]) -> Path:
    """A copy of the project in which `ssmlab` and `python` are those of the tests, with the copy's code."""
    copy_project(tmp_path)
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    for name, command in {"python": "", "ssmlab": "-m ssmlab", "dvc": "-m dvc"}.items():
        script = tmp_path / ".scripts" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        script.chmod(0o755)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_every_block_of_a_tutorial_runs(tutorial: Path, folder: Path) -> None:
    script = ""  # the Python blocks form one program, which runs before a shell command that needs its output
    for block in [*blocks(tutorial), Block("sh", "", "")]:
        if block.title:
            target = folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif block.language == "python":
            script += block.text + "\n"
        else:
            assert block.language == "sh", f"{tutorial.name}: a block of {block.language} is not run"
            if script:
                run(folder, sys.executable, "-c", script)
                script = ""
            if block.text:
                run(folder, "bash", "-euo", "pipefail", "-c", block.text)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorials" / "add-a-mixer" / "index.html").exists()


def test_every_document_has_its_place_in_the_site() -> None:
    navigation = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    documents = {path.relative_to(PROJECT / "docs").as_posix() for path in (PROJECT / "docs").rglob("*.md")}
    assert {name for name in documents if f": {name}\n" not in navigation} == set()

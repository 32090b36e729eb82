"""Files that are read again only when they have changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.core.files import read_file, read_json
from ssmlab.project.watched_files import CachedFile, WatchedParams
from tests.unreadable import unreadable


def test_a_params_file_that_breaks_leaves_the_last_good_study(project: Path, tmp_path: Path) -> None:
    text = (project / "studies" / "smoke.yaml").read_text()
    path = tmp_path / "params.yaml"
    watched = WatchedParams(tmp_path)
    assert not watched.poll() and watched.params is None and "params.yaml" in str(watched.problem)
    path.write_text(text)
    assert watched.poll() and watched.problem is None and watched.paths is not None
    path.write_text(text.replace("epochs: 2", "epochs: none"))
    assert not watched.poll() and "epochs" in str(watched.problem)
    assert watched.params is not None and list(watched.params.runs) == ["ssm", "attention", "ads"]
    path.write_text(text.replace("  ads:", "  adz:").replace("run: ads", "run: adz"))
    assert watched.poll() and list(watched.params.runs) == ["ssm", "attention", "adz"]
    assert not watched.poll()  # nothing has changed since


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path, reads = tmp_path / "file.json", 0

    def read(file: Path) -> int:
        nonlocal reads
        reads += 1
        return int(json.loads(file.read_bytes()))

    cached = CachedFile(path, read)
    assert cached.poll() is None and reads == 0
    path.write_text("1")
    assert [cached.poll(), cached.poll(), reads] == [1, 1, 1]
    path.write_text("no json")
    assert cached.poll() is None
    path.write_text("23")
    assert cached.poll() == 23
    path.unlink()
    assert cached.poll() is None


@pytest.mark.parametrize("read", [lambda path: json.loads(read_file(path)), lambda path: read_json(path, "a", "b")])
def test_a_file_that_the_disk_gives_again_is_read_without_a_change(read: Callable[[Path], int], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("1")
    cached = CachedFile(path, read)
    with unreadable(path):
        assert cached.poll() is None
        assert cached.problem == f"{path}: cannot be read (Input/output error)"
    assert (cached.poll(), cached.problem) == (1, None)
    path.write_text("no json")
    assert (cached.poll(), cached.problem) == (None, None)  # the disk is not to blame


def test_params_that_the_disk_gives_again_are_read_without_a_change(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((project / "studies" / "smoke.yaml").read_bytes())
    watched = WatchedParams(tmp_path)
    with unreadable(path):
        assert not watched.poll() and "Input/output error" in str(watched.problem)
    assert watched.poll() and watched.problem is None

"""Files that are read again only when they have changed."""

from __future__ import annotations

import json
from pathlib import Path

from ssmlab.project.watched_files import CachedFile, WatchedParams


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

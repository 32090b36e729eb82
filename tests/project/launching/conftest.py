"""A project whose DVC is a small program."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import launch
from ssmlab.project.launched import active
from tests.project.launching.programs import Fake


@pytest.fixture
def paths(tmp_path: Path, project: Path, tiny_params: Params) -> Iterator[Paths]:
    (tmp_path / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    paths = Paths(tiny_params.study, tmp_path)
    yield paths
    left = active(paths)
    if left is not None:
        os.killpg(left.pid, signal.SIGKILL)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a program in DVC's place."""

    def put(code: str) -> None:
        monkeypatch.setattr(launch, "repro_command", lambda targets, force: [sys.executable, "-c", code, *targets])

    return put

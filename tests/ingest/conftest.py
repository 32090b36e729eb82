"""Fixtures for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """An empty folder for unpacked files."""
    folder = tmp_path / "workdir"
    folder.mkdir()
    return folder

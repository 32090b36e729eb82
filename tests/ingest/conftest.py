"""What the tests of data sets share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder for what is unpacked."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder

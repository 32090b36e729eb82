"""Threads wait passively in everything that the command starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.system.waiting import wait_passively


def test_threads_wait_passively_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_command_sets_it_before_torch_is_loaded(project: Path) -> None:
    """Both ways of starting the command go through `main`; OpenMP reads the setting while torch is loaded."""
    code = (
        "import os, sys\n"
        "from ssmlab.cli import app\n"
        "app.app = lambda: print('torch' in sys.modules, os.environ.get('OMP_WAIT_POLICY'))\n"
        "app.main()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["False", "PASSIVE"]

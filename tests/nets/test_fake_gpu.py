"""Every model and the training attack on a simulated GPU, in a separate process.

The fake device stays registered with torch for as long as a process lives, and torch then asks it for generators and
gradient queues that it has not, so other tests would fail beside it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_DummyBackendModule"),
    reason="this torch has no devices that are written in Python",
)
def test_models_and_attacks_stay_on_the_gpu() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/nets/fake_gpu_models.py"]
    done = subprocess.run(command, cwd=PROJECT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout

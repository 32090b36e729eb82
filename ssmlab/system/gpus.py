"""The GPUs that this process may use, found without torch, whose import takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import takewhile

ANSWER_TIME = 10.0  # seconds


def visible_gpus() -> list[str]:
    """The names by which CUDA_VISIBLE_DEVICES gives these GPUs to a child process: numbers or UUIDs; empty without any.

    If the user has set this variable, only the GPUs in it may be used. Otherwise nvidia-smi says how many there are.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = (name.strip() for name in chosen.split(","))
        return list(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA too ignores all after these
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        command = [tool, "--list-gpus"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIME, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    listed = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]  # MIG slices are indented below
    return [] if done.returncode else [str(number) for number in range(len(listed))]

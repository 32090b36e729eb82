"""A training keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from ssmlab.system import freed_memory
from ssmlab.system.freed_memory import keep_freed_memory

ON_GLIBC = sys.platform == "linux" and getattr(ctypes.CDLL(None), "gnu_get_libc_version", None) is not None

# 16 blocks of 4 MiB are allocated, touched and freed several times, as the tensors of a step are
STEPS = """
import resource, sys
from ssmlab.system.freed_memory import keep_freed_memory
import torch
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def step():
    blocks = [torch.zeros(2**20).add_(1.0) for _ in range(16)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_minflt - before, used.ru_maxrss)
"""


def faults_and_peak(what: str) -> tuple[int, int]:
    """Page faults of ten steps, and the process's peak memory in KiB."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ended = subprocess.run(
        [sys.executable, "-c", STEPS, what], env=environment, capture_output=True, text=True, check=True
    )
    faults, peak = ended.stdout.split()
    return int(faults), int(peak)


@pytest.mark.skipif(not ON_GLIBC, reason="only glibc returns memory like this")
def test_freed_memory_is_used_again_without_page_faults_and_the_peak_does_not_grow() -> None:
    faults, peak = faults_and_peak("kept")
    faults_before, peak_before = faults_and_peak("returned")
    assert faults_before > 10_000  # ten steps of 64 MiB in pages of 4 KiB are 163,840
    assert faults < faults_before / 10
    assert peak < peak_before * 1.1


@pytest.mark.parametrize("name", freed_memory.SETTINGS_OF_THE_USER)
def test_a_setting_of_the_user_is_not_changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was asked"))
    assert not keep_freed_memory()


def test_another_system_or_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in freed_memory.SETTINGS_OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # without mallopt
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was asked"))
    assert not keep_freed_memory()

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssmlab.artifacts.heartbeat import Heartbeat, HeartbeatWriter, read_heartbeat, state_of
from ssmlab.system.processes import pid_start_time


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> HeartbeatWriter:
    return HeartbeatWriter(tmp_path / "progress.json", stage="train", study="s", run="ads", device="cpu", clock=clock)


def here(**changes: object) -> Heartbeat:
    """A heartbeat of this process at time 1000."""
    pid = os.getpid()
    heartbeat = Heartbeat("train", "s", "ads", pid, pid_start_time(pid), socket.gethostname(), "cpu", time=1000.0)
    return replace(heartbeat, **changes)


def test_the_first_heartbeat_names_this_process(writer: HeartbeatWriter) -> None:
    heartbeat = read_heartbeat(writer.path)
    assert heartbeat == here()


def test_a_heartbeat_is_written_at_most_once_per_second(writer: HeartbeatWriter, clock: Clock) -> None:
    clock.now = 1000.5
    writer.beat(step=1, loss=2.5)
    assert read_heartbeat(writer.path) == here()
    clock.now = 1001.0
    writer.beat(step=2)
    assert read_heartbeat(writer.path) == here(step=2, loss=2.5, time=1001.0)


def test_a_change_of_state_is_written_at_once(writer: HeartbeatWriter, clock: Clock) -> None:
    clock.now = 1000.1
    writer.beat(state="stopped")
    assert read_heartbeat(writer.path) == here(state="stopped", time=1000.1)


def test_closing_a_heartbeat_records_the_end_and_removes_the_eta(writer: HeartbeatWriter, clock: Clock) -> None:
    writer.beat(step=3, eta_seconds=12.0)
    clock.now = 1000.2
    writer.close("failed", "no space left")
    assert read_heartbeat(writer.path) == here(step=3, state="failed", message="no space left", time=1000.2)


def test_every_heartbeat_replaces_the_whole_file(writer: HeartbeatWriter, clock: Clock) -> None:
    with writer.path.open() as opened_before:
        clock.now += 5
        writer.beat(step=9)
        assert json.load(opened_before)["step"] == 0


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"stage": 1}', b"\xff\xfe"])
def test_a_file_that_is_not_a_heartbeat_is_read_as_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "progress.json"
    if content is not None:
        path.write_bytes(content)
    assert read_heartbeat(path) is None


def test_a_half_written_heartbeat_is_read_as_none(writer: HeartbeatWriter) -> None:
    content = writer.path.read_bytes()
    for end in range(len(content)):
        writer.path.write_bytes(content[:end])
        assert read_heartbeat(writer.path) is None


@pytest.mark.parametrize("state", ["finished", "failed", "stopped"])
def test_a_recorded_end_is_not_changed_by_the_process_state(state: str) -> None:
    assert state_of(here(state=state, pid=2**22 + 1, pid_start=None), now=1e9) == state


def test_a_live_process_is_running_until_it_has_been_silent_for_a_minute() -> None:
    assert state_of(here(), now=1001.0) == "running"
    assert state_of(here(), now=1060.0) == "running"
    assert state_of(here(), now=1060.1) == "stale"


def test_a_heartbeat_of_another_machine_is_judged_by_its_age() -> None:
    elsewhere = here(host="elsewhere", pid=2**22 + 1)
    assert state_of(elsewhere, now=1059.0) == "running"
    assert state_of(elsewhere, now=1061.0) == "stale"
    assert state_of(elsewhere, now=900.0) == "stale"  # its clock, or ours, is wrong: it would seem to run until 1000


def test_a_reused_pid_is_a_killed_run() -> None:
    start = pid_start_time(os.getpid())
    assert start is not None
    assert state_of(here(pid_start=start - 60), now=1001.0) == "killed"
    assert state_of(here(pid_start=start + 1), now=1001.0) == "running"  # the boot time moves by a second at most


def test_a_process_that_ended_was_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    start = pid_start_time(child.pid)
    child.wait()
    assert state_of(here(pid=child.pid, pid_start=start), now=1001.0) == "killed"

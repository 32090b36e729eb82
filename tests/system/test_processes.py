"""Whether a process still runs, and whether it is the one that was meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssmlab.system.processes import (
    command_line,
    environment_of,
    group_members,
    is_alive,
    parent_of,
    pid_start_time,
    stands_still,
)

ENDED = 2**22 + 1  # larger than any pid that Linux gives


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process, leader of a group of its own, that waits for its input to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_start_time_tells_a_process_from_a_later_one_of_the_same_pid(child: subprocess.Popen[bytes]) -> None:
    start = pid_start_time(child.pid)
    assert start is not None
    assert abs(start - time.time()) < 60
    assert is_alive(child.pid, start)
    assert is_alive(child.pid, start + 1)  # the boot time moves by a second at most
    assert not is_alive(child.pid, start - 60)
    assert is_alive(child.pid, None)


def test_a_process_that_has_ended_is_not_alive() -> None:
    assert not is_alive(ENDED, None)
    assert (pid_start_time(ENDED), parent_of(ENDED), command_line(ENDED)) == (None, None, [])
    assert group_members(ENDED) == []
    assert environment_of(ENDED) == {}
    assert stands_still(ENDED)


@pytest.mark.parametrize("pid", [-1, 2**31, 2**70])
def test_a_number_that_no_process_can_have_is_not_alive(pid: int) -> None:
    assert not is_alive(pid, None)
    assert command_line(pid) == []


def test_a_zombie_has_ended_and_so_has_its_group(child: subprocess.Popen[bytes]) -> None:
    assert group_members(child.pid) == [child.pid]
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet taken off the process table
    assert not is_alive(child.pid, None)
    assert group_members(child.pid) == []


def test_a_process_of_another_user_is_alive() -> None:
    assert is_alive(1, None)


def test_a_process_name_may_hold_spaces_and_brackets(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "30"]) as process:
        try:
            assert is_alive(process.pid, time.time())
            assert parent_of(process.pid) == os.getpid()
        finally:
            process.kill()


def test_parent_command_line_and_environment_are_read_from_the_system(child: subprocess.Popen[bytes]) -> None:
    assert parent_of(child.pid) == os.getpid()
    assert command_line(child.pid)[1] == "-c"
    assert "DVC_STAGE" not in environment_of(child.pid)
    environment = {**os.environ, "DVC_STAGE": "train@ads"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as stage:
        deadline = time.monotonic() + 10
        while (
            "DVC_STAGE" not in environment_of(stage.pid) and time.monotonic() < deadline
        ):  # until it has become that program
            time.sleep(0.01)
        assert environment_of(stage.pid)["DVC_STAGE"] == "train@ads"
        stage.communicate(b"\n")


def test_a_paused_process_does_nothing_until_it_continues(child: subprocess.Popen[bytes]) -> None:
    assert not stands_still(child.pid)
    os.kill(child.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while not stands_still(child.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert stands_still(child.pid)
    os.kill(child.pid, signal.SIGCONT)
    deadline = time.monotonic() + 10
    while stands_still(child.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not stands_still(child.pid)

"""Information about other processes of this machine, and whether they still run."""

from __future__ import annotations

import os

import psutil

SAME_START = 2.0  # seconds; the kernel's boot time moves a little when the clock is set
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)  # a zombie only waits for its parent to collect it


def is_alive(pid: int, pid_start: float | None) -> bool:
    """Whether process `pid` of this machine runs and is the one that began at `pid_start`.

    Without a start time, a later process with the same pid cannot be distinguished from it.
    """
    start = pid_start_time(pid)
    return start is not None and (pid_start is None or abs(start - pid_start) < SAME_START)


def pid_start_time(pid: int) -> float | None:
    """When process `pid` began, in unix seconds; None if it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() in ENDED else process.create_time()
    except (psutil.Error, ValueError, OverflowError):  # the last two errors: no process can have such a pid
        return None


def command_line(pid: int) -> list[str]:
    """The command line of a process; empty if it has ended or belongs to somebody else."""
    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError, OverflowError):
        return []


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty if it has ended or belongs to somebody else."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, ValueError, OverflowError, OSError):
        return {}


def stands_still(pid: int) -> bool:
    """Whether a process is halted (SIGSTOP) or has ended."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, *ENDED)
    except psutil.Error:
        return True


def parent_of(pid: int) -> int | None:
    """The parent of a process; None if it has ended or there is none."""
    try:
        return psutil.Process(pid).ppid() or None
    except psutil.Error:
        return None


def group_members(group: int) -> list[int]:
    """The processes of a process group that still run."""
    return [pid for pid in psutil.pids() if in_group(pid, group) and pid_start_time(pid) is not None]


def in_group(pid: int, group: int) -> bool:
    """Whether a process belongs to the process group."""
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False  # it ended in the meantime

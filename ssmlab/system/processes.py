"""Whether other processes of this machine still run, and which one is which."""

from __future__ import annotations

import os
from pathlib import Path

SAME_START = 2.0  # seconds; the kernel's boot time moves a little when the clock is set
PROC = Path("/proc")


def is_alive(pid: int, pid_start: float | None) -> bool:
    """Whether process `pid` of this machine runs and, where the system tells, is the one that began at `pid_start`."""
    if PROC.joinpath("stat").exists():
        start = pid_start_time(pid)
        return start is not None and (pid_start is None or abs(start - pid_start) < SAME_START)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def pid_start_time(pid: int) -> float | None:
    """When process `pid` began, in unix seconds; None if it is gone (a zombie is), or where there is no /proc."""
    try:
        after_name = PROC.joinpath(str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = next(line for line in PROC.joinpath("stat").read_text().splitlines() if line.startswith("btime "))
    except OSError:
        return None
    state, start_ticks = after_name[0], int(after_name[19])  # fields 3 and 22 of proc(5); the name may hold spaces
    if state in "ZX":
        return None
    return float(boot.split()[1]) + start_ticks / os.sysconf("SC_CLK_TCK")


def is_marked(folder: Path) -> bool:
    """Whether the process of a folder of /proc was started as a stage of DVC."""
    try:
        return any(entry.startswith(b"DVC_STAGE=") for entry in (folder / "environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def parent_of(pid: int) -> int | None:
    """The parent of a process (proc(5): state and ppid follow the name); None if it is gone or there is none."""
    try:
        return int((PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) or None
    except OSError:
        return None


def group_lives(group: int) -> bool:
    """Whether a process group has a member that still runs; zombies, which only wait to be collected, do not count."""
    processes = Path("/proc")
    if not processes.is_dir():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True
    return any(in_group(folder, group) for folder in processes.iterdir() if folder.name.isdigit())


def in_group(folder: Path, group: int) -> bool:
    """Whether /proc/<pid> belongs to a running process of the group (proc(5): state, ppid and pgrp follow the name)."""
    try:
        state, _, pgrp = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False  # it ended while we looked
    return int(pgrp) == group and state not in "ZX"

"""How many processors this process may use, limited by the CPU time that Linux's control groups give a container.

A container with `--cpus 2` on a machine with 64 cores may run on all 64 cores, but it is stopped when it has used the
time of two. 64 workers would only wait for each other. Neither the affinity of the process nor os.cpu_count shows this
limit.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and cgroup-v1's cpu.cfs_quota_us.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def processors() -> int:
    """The number of processors that this process may run on, which torch counts too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """The number of processors whose time this process may use, limited by a container's quota in whole cores."""
    quota = cpu_quota()
    return processors() if quota is None else max(1, min(processors(), int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The CPU time that the control groups give this process, in cores; None if nothing limits it.

    A group is limited by all groups that contain it, so the smallest quota counts. Inside a container, the group of the
    process is usually the top of /sys/fs/cgroup, whatever /proc/self/cgroup calls it; so the top is read as well.

    Args:
        root: the folder that contains /proc and /sys, for tests.
    """
    quotas = [quota for folder in groups(root) if (quota := quota_of(folder)) is not None]
    return min(quotas, default=None)


def groups(root: Path) -> Iterator[Path]:
    """The folders of the groups of this process, and of all groups that contain these; some may not exist."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    top = root / "sys/fs/cgroup"
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        mounted = top if number == "0" else top / "cpu"
        inner = PurePosixPath(path.lstrip("/"))
        if ".." not in inner.parts:
            yield from (mounted / each for each in (inner, *inner.parents))
        yield mounted


def quota_of(group: Path) -> float | None:
    """The quota of one group, in cores; None if it has no quota, or none that can be read."""
    try:
        if (group / "cpu.max").is_file():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        quota = int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: there is no limit
        return None
    return quota if quota > 0 else None  # version 1 writes -1 for no limit

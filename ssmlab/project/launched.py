"""A `dvc repro` that was started: finding it again, what went wrong with it, and stopping it with all its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file
from ssmlab.core.text import listed
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_files import kept_lock, outputs_asked, read_lock
from ssmlab.project.lock_check import lock_problem
from ssmlab.project.log import LogFollower
from ssmlab.system.locks import lock
from ssmlab.system.processes import environment_of, group_members, is_alive, pid_start_time, stands_still

MARK = "SSMLAB_LAUNCH"  # the environment variable that every process of a launch has
WRITE_TIME = 10.0  # seconds; DVC writes the dvc.lock of 300 runs in 4


@dataclass(frozen=True)
class Launched:
    """A `dvc repro` that is or was running.

    Attributes:
        pid: the process, which leads a session and a process group of its own; its children are in that group.
        pid_start: when it started, as `pid_start_time` says; both identify it even after the pid is used again.
        targets: what the user named: runs and stages; empty means everything.
        root, study: the project's folder, and the study.
        log_start: the byte of the log at which this launch starts; several launches share the file.
        started: unix seconds.
        process: the child itself; None if the launch was found in repro.json.
    """

    pid: int
    pid_start: float | None
    targets: tuple[str, ...]
    root: Path
    study: str
    log_start: int
    started: float
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def log(self) -> Path:
        """The file that gets all its output."""
        return log_path(Paths(self.study, self.root))

    @property
    def running(self) -> bool:
        """Whether any process of it is left: its leader, or children that have outlived it.

        Processes are identified by the mark that `spawn` puts into their environment and never by their number alone,
        because the record is a file and may contain any number.
        """
        if self.process is not None and self.process.poll() is None:  # poll also removes an ended child
            return True
        if pid_start_time(self.pid) is not None and not is_alive(self.pid, self.pid_start):
            return False  # the pid belongs to a later process
        mark = launch_mark(self.root, self.study)
        return any(environment_of(pid).get(MARK) == mark for pid in group_members(self.pid))

    @property
    def problem(self) -> str | None:
        """What went wrong, in one line; None while it runs and after success.

        DVC's own error line if there is one, for example "Unable to acquire lock"; otherwise how the process ended,
        which only its parent knows.
        """
        code = self.process.poll() if self.process is not None else None
        if code == 0 or self.running:
            return None
        lines = [line.strip() for line in LogFollower(self.log, self.log_start).poll(whole=False)]
        errors = [line for line in lines if line.startswith("ERROR:")]
        if errors:
            return errors[-1].removeprefix("ERROR:").strip()
        if code is None:
            return None
        last = next((line for line in reversed(lines) if line), "it wrote nothing")
        return f"dvc was ended by signal {-code}" if code < 0 else f"dvc ended with exit code {code}: {last}"


def active(paths: Paths) -> Launched | None:
    """The running launch of this study, whoever started it; None if there is none."""
    try:
        known = json.loads(read_file(record_path(paths)))
        launched = Launched(
            pid=int(known["pid"]),
            pid_start=float(known["pid_start"]),  # without one, any process of that pid could be meant
            targets=tuple(map(str, known["targets"])),
            root=paths.root,
            study=paths.study,
            log_start=int(known["log_start"]),
            started=float(known["started"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # nothing was launched, or the record cannot be read, and then no launch is known
    return launched if launched.running else None


@contextmanager
def launch_lock(root: Path) -> Iterator[None]:
    """Inside this block no other process launches a pipeline of this project, or changes its params.yaml."""
    file = root / "runs" / ".launch.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with lock(file):
        yield


def refuse_beside_another_launch(paths: Paths) -> None:
    """Raise UserError if the pipeline of this study is already running: both would train the same runs."""
    launched = active(paths)
    if launched is not None:
        raise UserError(
            f"{launch_text(launched)} is already running (process {launched.pid}); stop it or let it finish"
        )


def stop_launch(launched: Launched, patience: float = 5.0) -> None:
    """End a launch with all its children, and return when none is left. A launch that has already ended is no error.

    It first sends SIGINT, as Ctrl-C does, so that stages can save their state. It sends SIGTERM after `patience`
    seconds, and SIGKILL after another `patience` seconds. Before each signal, it waits up to `WRITE_TIME` for DVC to
    finish writing.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not launched.running:
            return
        try:
            signal_between_writes(launched, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while launched.running and time.monotonic() < deadline:
            time.sleep(0.02)


def signal_between_writes(launched: Launched, number: signal.Signals) -> None:
    """Send a signal to a launch at a moment when DVC is not writing dvc.lock, which would stay incomplete.

    DVC is halted for the check: a halted process starts no write, and gets the signal first when it continues. If the
    lock file is still incomplete after `WRITE_TIME`, it was damaged before, and the signal is sent anyway.
    """
    deadline = time.monotonic() + WRITE_TIME
    asked = outputs_asked(launched.root)
    leader = launched.pid if is_alive(launched.pid, launched.pid_start) else None
    while True:
        if leader is not None:
            halt(leader)
        try:
            content = read_lock(launched.root / "dvc.lock")
            before = read_lock(kept_lock(launched.study, launched.root))
            whole = content is None or lock_problem(content, before, asked) is None
        except UserError:
            whole = True  # it cannot be read, so there is nothing to wait for
        if whole or leader is None or time.monotonic() > deadline:
            os.killpg(launched.pid, number)
        if leader is not None:
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGCONT)
        if whole or leader is None or time.monotonic() > deadline:
            return
        time.sleep(0.05)


def halt(pid: int) -> None:
    """Halt a process, and wait until it stands still; raises ProcessLookupError if it has ended."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 1.0
    while not stands_still(pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def launch_text(launched: Launched) -> str:
    """A launch in words: `repro of ssm, attention and ads`."""
    return f"repro of {listed(launched.targets)}" if launched.targets else "repro of everything"


def launch_mark(root: Path, study: str) -> str:
    """The mark of the processes of a launch of this project and study."""
    return f"{root.resolve()}:{study}"


def log_path(paths: Paths) -> Path:
    """The log of all launches of the study."""
    return paths.root / "runs" / paths.study / "repro.log"


def record_path(paths: Paths) -> Path:
    """The file that records the latest launch of the study, so that others find it."""
    return paths.root / "runs" / paths.study / "repro.json"

"""A `dvc repro` that was started: finding it again, what went wrong with it, and stopping it with all its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.text import listed
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_files import (
    kept_lock,
    outputs_asked,
    read_lock,
)
from ssmlab.project.lock_check import lock_problem
from ssmlab.project.log import LogFollower
from ssmlab.system.processes import environment_of, group_members, is_alive, pid_start_time, stands_still

MARK = "SSMLAB_LAUNCH"  # the environment variable that every process of a launch has
WRITE_TIME = 10.0  # seconds; DVC writes the dvc.lock of 300 runs in 4


@dataclass(frozen=True)
class Launched:
    """A `dvc repro` under way, or one that was.

    Attributes:
        pid: the process, which leads a session and a process group of its own; its children are in that group.
        pid_start: when it began, as `pid_start_time` says; with `pid` it names one process for good.
        targets: what the user named: runs and stages; empty means everything.
        root, study: the project's folder, and which of its studies.
        log_start: the byte of the log at which this launch's part begins; several launches share the file.
        started: unix seconds.
        process: the child itself, for whoever launched it; None for those who found it in `repro.json`.
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
        """Where all its output goes."""
        return log_path(Paths(self.study, self.root))

    @property
    def running(self) -> bool:
        """Whether any process of it is left: its leader, or children that have outlived it.

        Processes are known by the mark that `spawn` puts into their environment, never by their number alone: the
        record that names them is a file, and anything may stand in it.
        """
        if self.process is not None and self.process.poll() is None:  # which takes an ended child off the table
            return True
        if pid_start_time(self.pid) is not None and not is_alive(self.pid, self.pid_start):
            return False  # the pid belongs to a later process
        mark = launch_mark(self.root, self.study)
        return any(environment_of(pid).get(MARK) == mark for pid in group_members(self.pid))

    @property
    def problem(self) -> str | None:
        """What went wrong, in one line; None while it runs and after a good end.

        DVC's own error line where there is one, "Unable to acquire lock" included; else how the process ended, which
        only its parent knows.
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
    """The launch of this study that still runs, whoever started it; None if there is none."""
    try:
        known = json.loads(record_path(paths).read_bytes())
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
        return None  # nothing was launched, or the record is not ours to read: then nothing can be said to run
    return launched if launched.running else None


def refuse_beside_another_launch(paths: Paths) -> None:
    """Raise UserError if the pipeline of this study already runs: both would train the same runs."""
    launched = active(paths)
    if launched is not None:
        raise UserError(
            f"{launch_text(launched)} is already running (process {launched.pid}); stop it or let it finish"
        )


def stop_launch(launched: Launched, patience: float = 5.0) -> None:
    """End a launch with all its children; returns when none is left. One that has ended already is no error.

    SIGINT first, as Ctrl-C would: stages write their last words. After `patience` seconds SIGTERM, after as many again
    SIGKILL. Call it where waiting does no harm: it takes up to two `patience`, and up to `WRITE_TIME` before each.
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
    """Send a signal to a launch while DVC is not writing dvc.lock, which the signal would leave cut.

    DVC is halted to look: a halted process begins no write, and the signal is the first thing it meets when it goes on.
    A lock file that does not become whole within `WRITE_TIME` was damaged before, and keeps nobody from stopping.
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
    """What tells the processes of a launch of this project and study from all others."""
    return f"{root.resolve()}:{study}"


def log_path(paths: Paths) -> Path:
    """Where every launch of the study writes."""
    return paths.root / "runs" / paths.study / "repro.log"


def record_path(paths: Paths) -> Path:
    """Where the latest launch of the study is noted, so that others find it."""
    return paths.root / "runs" / paths.study / "repro.json"

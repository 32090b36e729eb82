"""Start `dvc repro` as a process of its own, find it again, follow its log, and stop it with all its children."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import readable_json, write_atomic
from ssmlab.core.text import listed
from ssmlab.evaluation.plan import check_plan_on_prepared
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_files import (
    check_free_disk,
    check_links,
    dvc_at_work,
    keep_lock,
    kept_lock,
    lock_problem,
    mend_busy_paths,
    mend_lock,
    read_lock,
)
from ssmlab.project.log import LogFollower
from ssmlab.project.params_file import read_yaml
from ssmlab.project.pipeline import resolve
from ssmlab.system.locks import lock
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


def launch(
    params: Params, paths: Paths, targets: Sequence[str], force: bool = False, tell: Listener = silence
) -> Launched:
    """Start `dvc repro` on the study of params.yaml, detached: it outlives the caller and its terminal.

    Args:
        targets: runs (trained and attacked), stages, or stages of one run such as `train@ads`; none means everything.
        force: run the stages even where nothing has changed.

    Raises:
        UserError: an unknown target, no readable dvc.yaml, or a launch of this study that still runs.
    """
    log = log_path(paths)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with launching(paths), log.open("ab") as output:
            command = prepared_command(params, paths, targets, force, tell)
            start = output.seek(0, os.SEEK_END)
            output.write(f"$ {shlex.join(['ssmlab', 'repro', *targets])}\n".encode())
            output.flush()
            return spawn(command, targets, paths, output, start)
    except OSError as error:
        raise UserError(f"{log}: cannot be written ({error.strerror or error}); dvc was not started") from error


def foreground(
    params: Params,
    paths: Paths,
    targets: Sequence[str],
    force: bool = False,
    tell: Listener = silence,
    wait: float = 0.0,
) -> int:
    """Run `dvc repro` on this terminal, where its stages draw their own progress, and wait; returns the exit code.

    It is a launch like any other, so that `active` finds it and `stop` ends it. Ctrl-C, or any other exception that
    reaches the wait, stops it with all its children before it is passed on. Another DVC command that is at work here is
    waited for, up to `wait` seconds. Raises UserError as `launch` does.
    """
    wait_for_dvc(paths, wait, tell)
    with launching(paths):
        command = prepared_command(params, paths, targets, force, tell)
        log = log_path(paths)
        launched = spawn(command, targets, paths, None, log.stat().st_size if log.exists() else 0)
    try:
        code = launched.process.wait() if launched.process is not None else 0
    except BaseException:
        stop_launch(launched)
        raise
    if code == 0:
        keep_lock(paths.root)
    return code if code >= 0 else 128 - code


@contextmanager
def launching(paths: Paths) -> Iterator[None]:
    """Only one process at a time launches: the next one sees what this one has started."""
    file = paths.root / "runs" / ".launch.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with lock(file):
        yield


def wait_for_dvc(paths: Paths, limit: float, tell: Listener) -> None:
    """Wait until no other DVC command works on the project; raises UserError after `limit` seconds."""
    began, told = time.monotonic(), False
    while active(paths) is None and (busy := dvc_at_work(paths.root)) is not None:
        if time.monotonic() - began >= limit:
            waited = f" after {limit:.0f} s of waiting" if limit else ""
            raise UserError(f"{busy} is still at work in this project{waited}; let it finish, or stop it")
        if not told:
            tell(Note(f"{busy} is at work in this project; waiting for it, up to {limit:.0f} s"))
            told = True
        time.sleep(0.2)


def prepared_command(params: Params, paths: Paths, targets: Sequence[str], force: bool, tell: Listener) -> list[str]:
    """The command line, once everything that would let DVC fail later has been looked at and mended where it can be.

    Raises UserError if a target is unknown, DVC is at work already, something is wrong that cannot be mended,
    or the attacks cannot be carried out on the prepared data.
    """
    names = resolve(targets, params, paths.root)
    before = active(paths)
    if before is not None:
        raise UserError(f"{launch_text(before)} is already running (process {before.pid}); stop it or let it finish")
    wait_for_dvc(paths, 0.0, tell)
    file = paths.root / "params.yaml"
    if file.is_file() and "grid" in read_yaml(file):
        raise UserError(
            "params.yaml: grid: DVC needs the runs written out; save the study as studies/NAME.yaml and say "
            "`ssmlab use NAME`"
        )
    check_free_disk(paths.root)
    check_links(paths.root, paths.study)
    for mended in (mend_busy_paths(paths.root), mend_lock(paths.root, paths.study)):
        if mended is not None:
            tell(Note(mended, warning=True))
    keep_lock(paths.root)
    check_plan_on_prepared(params, paths)
    allow_no_git(paths.root)
    return dvc_command(names, force)


def allow_no_git(root: Path) -> None:
    """Tell DVC, once, if there is no git checkout around `root`, as in a downloaded archive: it refuses to run there.

    The setting goes to .dvc/config.local, which git ignores, so that a checkout keeps DVC's git features.
    """
    here, local = root.resolve(), root / ".dvc" / "config.local"
    if any((folder / ".git").exists() for folder in (here, *here.parents)):
        return
    if not local.is_file() or "no_scm" not in local.read_text(encoding="utf-8"):
        command = [sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"]
        subprocess.run(command, cwd=root, check=False, capture_output=True)  # DVC itself says what is wrong, if it is


def spawn(
    command: list[str], targets: Sequence[str], paths: Paths, output: BinaryIO | None, log_start: int
) -> Launched:
    """Start DVC in a session of its own, writing to `output` (None: where we write), and note it for `active`."""
    process = subprocess.Popen(
        command,
        cwd=paths.root,
        env={**environment(paths.root), MARK: launch_mark(paths.root, paths.study)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
    )
    start = pid_start_time(process.pid)
    launched = Launched(process.pid, start, tuple(targets), paths.root, paths.study, log_start, time.time(), process)
    record = {
        "pid": launched.pid,
        "pid_start": launched.pid_start,
        "targets": list(launched.targets),
        "log_start": launched.log_start,
        "started": launched.started,
    }
    try:
        write_atomic(record_path(paths), readable_json(record), durable=False)
    except UserError:
        stop_launch(launched)  # nobody would find it again
        raise
    return launched


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
    leader = launched.pid if is_alive(launched.pid, launched.pid_start) else None
    while True:
        if leader is not None:
            halt(leader)
        try:
            content = read_lock(launched.root / "dvc.lock")
            before = read_lock(kept_lock(launched.study, launched.root))
            whole = content is None or lock_problem(content, before) is None
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


def dvc_command(names: Sequence[str], force: bool) -> list[str]:
    """The command line of a `dvc repro`, with the DVC of this very Python."""
    return [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else []), *names]


def environment(root: Path) -> dict[str, str]:
    """This process's environment, in which `python` is the Python that runs now and writes unbuffered."""
    search = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": python_folder(root) + os.pathsep + search, "PYTHONUNBUFFERED": "1"}


def python_folder(root: Path) -> str:
    """A folder in which `python` starts the Python that runs now; made in the project where there is none.

    Debian's /usr/bin has `python3` and no `python`. A link would not do: a Python finds its virtual environment by the
    path that it was started with.
    """
    here = Path(sys.executable).parent
    found = shutil.which("python", path=str(here))
    if found and Path(found).resolve() == Path(sys.executable).resolve():
        return str(here)
    script = root.resolve() / ".dvc" / "tmp" / "ssmlab-python" / "python"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(script, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    return str(script.parent)


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

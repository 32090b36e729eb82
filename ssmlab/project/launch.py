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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ssmlab.core.errors import UserError
from ssmlab.core.files import readable_json, write_atomic
from ssmlab.core.text import listed
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.log import LogFollower
from ssmlab.project.params_file import read_yaml
from ssmlab.system.processes import group_lives, is_alive, pid_start_time


@dataclass(frozen=True)
class Launched:
    """A `dvc repro` under way, or one that was.

    Attributes:
        pid: the process, which leads a session and a process group of its own; its children are in that group.
        pid_start: when it began, as `pid_start_time` says; with `pid` it names one process for good.
        targets: what the user named: runs and stages; empty means everything.
        log: where all output goes. Several launches share the file; this one's part begins at byte `log_start`.
        started: unix seconds.
        process: the child itself, for whoever launched it; None for those who found it in `repro.json`.
    """

    pid: int
    pid_start: float | None
    targets: tuple[str, ...]
    log: Path
    log_start: int
    started: float
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def running(self) -> bool:
        """Whether any process of it is left: its leader, or children that have outlived it."""
        if self.process is not None:
            self.process.poll()  # takes an ended child off the process table
        if is_alive(self.pid, self.pid_start):
            return True
        reused = pid_start_time(self.pid) is not None
        return not reused and group_lives(self.pid)

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


def launch(params: Params, paths: Paths, targets: Sequence[str], force: bool = False) -> Launched:
    """Start `dvc repro` on the study of params.yaml, detached: it outlives the caller and its terminal.

    Args:
        targets: runs (trained and attacked), stages, or stages of one run such as `train@ads`; none means everything.
        force: run the stages even where nothing has changed.

    Raises:
        UserError: an unknown target, no readable dvc.yaml, or a launch of this study that still runs.
    """
    command = command_for(params, paths, targets, force)
    log = log_path(paths)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            start = output.seek(0, os.SEEK_END)
            output.write(f"$ {shlex.join(['ssmlab', 'repro', *targets])}\n".encode())
            output.flush()
            return spawn(command, targets, paths, output, start)
    except OSError as error:
        raise UserError(f"{log}: cannot be written ({error.strerror or error}); dvc was not started") from error


def foreground(params: Params, paths: Paths, targets: Sequence[str], force: bool = False) -> int:
    """Run `dvc repro` on this terminal, where its stages draw their own progress, and wait; returns the exit code.

    It is a launch like any other, so that `active` finds it and `stop` ends it. Ctrl-C, or any other exception that
    reaches the wait, stops it with all its children before it is passed on. Raises UserError as `launch` does.
    """
    command = command_for(params, paths, targets, force)
    log = log_path(paths)
    launched = spawn(command, targets, paths, None, log.stat().st_size if log.exists() else 0)
    try:
        code = launched.process.wait() if launched.process is not None else 0
    except BaseException:
        stop(launched)
        raise
    return code if code >= 0 else 128 - code


def command_for(params: Params, paths: Paths, targets: Sequence[str], force: bool) -> list[str]:
    """The command line; raises UserError if a target is unknown, or if a launch of the study still runs."""
    names = resolve(targets, params, paths.root)
    before = active(paths)
    if before is not None:
        raise UserError(f"{described(before)} is already running (process {before.pid}); stop it or let it finish")
    file = paths.root / "params.yaml"
    if file.is_file() and "grid" in read_yaml(file):
        raise UserError(
            "params.yaml: grid: DVC needs the runs written out; save the study as studies/NAME.yaml and say "
            "`ssmlab use NAME`"
        )
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
        env=environment(paths.root),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
    )
    start = pid_start_time(process.pid)
    launched = Launched(process.pid, start, tuple(targets), log_path(paths), log_start, time.time(), process)
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
        stop(launched)  # nobody would find it again
        raise
    return launched


def active(paths: Paths) -> Launched | None:
    """The launch of this study that still runs, whoever started it; None if there is none."""
    try:
        known = json.loads(record_path(paths).read_bytes())
        launched = Launched(
            pid=int(known["pid"]),
            pid_start=known["pid_start"],
            targets=tuple(known["targets"]),
            log=log_path(paths),
            log_start=int(known["log_start"]),
            started=float(known["started"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing was launched, or the record is not ours to read: then nothing can be said to run
    return launched if launched.running else None


def stop(launched: Launched, patience: float = 5.0) -> None:
    """End a launch with all its children; returns when none is left. One that has ended already is no error.

    SIGINT first, as Ctrl-C would: stages write their last words. After `patience` seconds SIGTERM, after as many again
    SIGKILL. Call it where waiting does no harm: it takes up to two `patience` and a little.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not launched.running:
            return
        try:
            os.killpg(launched.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while launched.running and time.monotonic() < deadline:
            time.sleep(0.02)


def stages_of(params: Params, root: Path) -> list[str]:
    """The stages of `root`/dvc.yaml in the file's order, a `foreach` over the study's runs written out: `train@ads`.

    Raises UserError if dvc.yaml is missing or cannot be read.
    """
    runs = list(params.runs)
    return [name for stage, spec in stage_specs(root).items() for name in instances(stage, spec, runs)]


def resolve(targets: Sequence[str], params: Params, root: Path) -> tuple[str, ...]:
    """DVC's names for `targets`; a run stands for its training and its attack. Raises UserError for unknown ones."""
    specs = stage_specs(root)
    known = stages_of(params, root)
    names: list[str] = []
    for target in targets:
        if target in params.runs:
            names += [name for name in (f"train@{target}", f"attack@{target}") if name in known]
        elif target in known or target in specs:
            names.append(target)
        else:
            raise UserError(f"no run or stage '{target}' (runs: {', '.join(params.runs)}; stages: {', '.join(specs)})")
    return tuple(dict.fromkeys(names))


def stage_specs(root: Path) -> dict[str, Any]:
    """The `stages` section of dvc.yaml; raises UserError where there is none."""
    path = root / "dvc.yaml"
    stages = read_yaml(path).get("stages")
    if not isinstance(stages, dict):
        raise UserError(f"{path}: stages: the pipeline has no stages")
    return stages


def instances(stage: str, spec: Any, runs: list[str]) -> list[str]:
    """The names one entry of dvc.yaml gives; an interpolated `foreach` (`${runs}`) is over the study's runs."""
    if not isinstance(spec, dict) or "foreach" not in spec:
        return [stage]
    over = spec["foreach"]
    return [f"{stage}@{item}" for item in (runs if isinstance(over, str) else over)]


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


def described(launched: Launched) -> str:
    """A launch in words: `repro of ssm, attention and ads`."""
    return f"repro of {listed(launched.targets)}" if launched.targets else "repro of everything"


def log_path(paths: Paths) -> Path:
    """Where every launch of the study writes."""
    return paths.root / "runs" / paths.study / "repro.log"


def record_path(paths: Paths) -> Path:
    """Where the latest launch of the study is noted, so that others find it."""
    return paths.root / "runs" / paths.study / "repro.json"

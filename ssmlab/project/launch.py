"""Start `dvc repro` as a separate process, after checking everything that would make it fail later."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import write_atomic
from ssmlab.core.json_text import readable_json
from ssmlab.evaluation.plan import check_plan_on_prepared
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_cache import refill_cache
from ssmlab.project.dvc_command import allow_no_git, environment, repro_command
from ssmlab.project.dvc_files import (
    check_dvc_reads,
    check_free_disk,
    check_links,
    dvc_at_work,
    keep_lock,
    repair_dvc_files,
)
from ssmlab.project.launched import (
    MARK,
    Launched,
    active,
    launch_lock,
    launch_mark,
    log_path,
    record_path,
    refuse_beside_another_launch,
    stop_launch,
)
from ssmlab.project.params_file import read_yaml
from ssmlab.project.pipeline import resolve
from ssmlab.system.processes import pid_start_time


def launch(
    params: Params, paths: Paths, targets: Sequence[str], force: bool = False, tell: Listener = silence
) -> Launched:
    """Start `dvc repro` on the study of params.yaml, detached: it continues when the caller or the terminal ends.

    Args:
        targets: runs (trained, attacked and probed), stages, or stages of one run such as `train@ads`; none means
            everything.
        force: run the stages even if nothing has changed.

    Raises:
        UserError: a target is unknown, dvc.yaml cannot be read, or a launch of this study is still running.
    """
    log = log_path(paths)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with launch_lock(paths.root), log.open("ab") as output:
            command = prepared_command(params, paths, targets, force, tell)
            start = output.seek(0, os.SEEK_END)
            output.write(f"$ {shlex.join(['ssmlab', 'repro', *targets])}\n".encode())
            output.flush()
            return spawn(command, targets, paths, output, start)
    except OSError as error:
        raise UserError(f"{cannot(Path(error.filename or log), 'used', error)}; dvc was not started") from error


def foreground(
    params: Params,
    paths: Paths,
    targets: Sequence[str],
    force: bool = False,
    tell: Listener = silence,
    wait: float = 0.0,
) -> int:
    """Run `dvc repro` on this terminal, where its stages draw their own progress, and wait; returns the exit code.

    It is a launch like any other, so `active` finds it and `stop` ends it. Ctrl-C, or any other exception during the
    wait, stops it with all its children and is raised again. If another DVC command is running in the project, it
    waits for that first, up to `wait` seconds. Raises UserError as `launch` does.
    """
    wait_for_dvc(paths, wait, tell)
    with launch_lock(paths.root):
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


def wait_for_dvc(paths: Paths, limit: float, tell: Listener) -> None:
    """Wait until no other DVC command works on the project; raises UserError after `limit` seconds."""
    began, told = time.monotonic(), False
    while active(paths) is None and (busy := dvc_at_work(paths.root)) is not None:
        if time.monotonic() - began >= limit:
            waited = f" after {limit:.0f} s of waiting" if limit else ""
            raise UserError(f"{busy} is still running in this project{waited}; let it finish, or stop it")
        if not told:
            tell(Note(f"{busy} is running in this project; waiting for it, up to {limit:.0f} s"))
            told = True
        time.sleep(0.2)


def prepared_command(params: Params, paths: Paths, targets: Sequence[str], force: bool, tell: Listener) -> list[str]:
    """The command line, after checking, and if possible repairing, everything that would make DVC fail later.

    Raises UserError if a target is unknown, DVC is already running, something is wrong that cannot be repaired, or
    the attacks do not suit the prepared data.
    """
    names = resolve(targets, params, paths.root)
    refuse_beside_another_launch(paths)
    wait_for_dvc(paths, 0.0, tell)
    file = paths.root / "params.yaml"
    sections = read_yaml(file) if file.is_file() else {}
    if sections.get("study", paths.study) != paths.study:
        raise UserError(f"params.yaml: its study is not {paths.study} any more, but {sections['study']}; start again")
    if "grid" in sections:
        raise UserError(
            "params.yaml: grid: DVC needs the runs written out; save the study as studies/NAME.yaml and run "
            "`ssmlab use NAME`"
        )
    check_dvc_reads(file)
    check_free_disk(paths.root)
    check_links(paths.root, paths.study)
    for repaired in repair_dvc_files(paths.root, paths.study):
        tell(Note(repaired, warning=True))
    keep_lock(paths.root)
    check_plan_on_prepared(params, paths)
    allow_no_git(paths.root)
    if refilled := refill_cache(paths.root):
        tell(Note(refilled, warning=True))
    return repro_command(names, force)


def spawn(
    command: list[str], targets: Sequence[str], paths: Paths, output: BinaryIO | None, log_start: int
) -> Launched:
    """Start DVC in a session of its own, writing to `output` (None: our own), and record it for `active`."""
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
        stop_launch(launched)  # without the record nobody would find it
        raise
    return launched

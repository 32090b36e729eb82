"""A launch is found again by its record and its processes, says what went wrong, and is stopped as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import dvc_files, launch
from ssmlab.project.launched import Launched, active, record_path, stop_launch
from ssmlab.project.lock_check import lock_problem
from ssmlab.system.processes import pid_start_time
from tests.project.launching.programs import DEAF, FAMILY, ORPHANING, Fake, group_members, says, until


def test_stop_lets_child_processes_finish_their_output_and_leaves_none_running(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    fake(FAMILY)
    launched = launch.launch(tiny_params, paths, ["ads"])
    until(lambda: says(launched, "at work"))
    assert len(group_members(launched.pid)) == 2
    stop_launch(launched)
    assert group_members(launched.pid) == []
    assert says(launched, "last words")
    assert launched.problem == "failed to reproduce 'train@ads'"


def test_stop_kills_processes_that_ignore_signals(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: says(launched, "at work"))
    stop_launch(launched, patience=0.2)
    assert group_members(launched.pid) == []
    assert launched.problem == "dvc was ended by signal 9"


def test_a_child_that_outlives_its_leader_still_counts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(ORPHANING)
    launched = launch.launch(tiny_params, paths, [])
    assert launched.process is not None
    launched.process.wait()
    until(lambda: says(launched, "at work"))
    found = active(paths)
    assert found is not None
    stop_launch(found)
    assert group_members(launched.pid) == []


def test_stopping_a_launch_that_has_ended_is_no_error(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    stop_launch(launched)


def test_a_process_with_a_reused_pid_is_not_taken_for_the_launch(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    launched = launch.launch(tiny_params, paths, [])
    record = record_path(paths)
    text = record.read_text()
    record.write_text(text.replace(str(launched.pid_start), "12345.0"))
    assert launched.pid_start is not None and active(paths) is None
    record.write_text(text)
    stop_launch(launched, patience=0.1)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_a_record_that_cannot_be_read_names_no_launch(paths: Paths, content: str) -> None:
    record_path(paths).parent.mkdir(parents=True)
    record_path(paths).write_text(content)
    assert active(paths) is None


def test_dvcs_own_error_is_the_problem(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    line = "Unable to acquire lock. Most likely another DVC process is running"
    fake(f"import sys; print('ERROR: {line}'); sys.exit(255)")
    first = launch.launch(tiny_params, paths, [])
    until(lambda: not first.running)
    assert first.problem == line
    fake("")
    second = launch.launch(tiny_params, paths, [])
    until(lambda: not second.running)
    found = replace(second, process=None)  # as another process sees it, by the log alone
    assert found.problem is None  # the earlier launch's part of the log is not its own
    assert replace(first, process=None).problem == line


def test_without_an_error_line_the_exit_code_is_the_problem(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import sys; print('No module named dvc'); sys.exit(1)")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    assert launched.problem == "dvc ended with exit code 1: No module named dvc"


@pytest.mark.parametrize("start", ["null", "right"])
def test_stop_never_signals_a_process_that_is_not_the_launch(paths: Paths, start: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as stranger:
        try:
            record = {"pid": stranger.pid, "pid_start": None, "targets": [], "log_start": 0, "started": 0.0}
            if start == "right":
                record["pid_start"] = pid_start_time(stranger.pid)
            record_path(paths).parent.mkdir(parents=True)
            record_path(paths).write_text(json.dumps(record))
            assert active(paths) is None
            stop_launch(Launched(stranger.pid, pid_start_time(stranger.pid), (), paths.root, paths.study, 0, 0.0))
            assert stranger.poll() is None
        finally:
            stranger.kill()


# Writes a lock file as DVC does: emptied first, then line by line, for about a second; then again.
WRITER = """
import time
lines = ["schema: '2.0'", "stages:", "  prepare:", "    outs:", "    - path: data/smoke.safetensors"]
lines += ["      size: 1"]
lines += [line for n in range(20) for line in (f"  train@{n}:", "    outs:", f"    - path: m{n}", "      size: 1")]
while True:
    with open("dvc.lock", "w", buffering=1) as file:
        for line in lines:
            file.write(line[:3])
            file.flush()
            time.sleep(0.002)
            file.write(line[3:] + chr(10))
    print("written", flush=True)
    time.sleep(0.1)
"""


def test_a_stop_waits_until_dvc_has_written_its_lock_file(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    """Before the fix, a stop at any of these moments left half a file."""
    fake(WRITER)
    for moment in (0.03, 0.11, 0.17):
        launched = launch.launch(tiny_params, paths, [])
        until(lambda launched=launched: "written" in launched.log.read_text()[launched.log_start :])
        dvc_files.keep_lock(paths.root)
        time.sleep(0.1 + moment)
        stop_launch(launched)
        assert not launched.running
        content = (paths.root / "dvc.lock").read_bytes()
        assert lock_problem(content) is None
        assert content.count(b"train@") == 20

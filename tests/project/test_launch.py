"""Launching, finding again and stopping `dvc repro`, with a small Python program in DVC's place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import dvc_command, dvc_files, launch, pipeline
from ssmlab.project.launched import Launched, active, record_path, stop_launch
from ssmlab.project.lock_check import lock_problem
from ssmlab.project.log import LogFollower
from ssmlab.project.params_file import load_params
from ssmlab.system.processes import pid_start_time
from tests.analysis.synthetic import data_summary, write_data

# A leader that ignores SIGINT while its child works, as DVC does, and a child that takes SIGINT as an order to end.
FAMILY = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("child: last words", flush=True), sys.exit(3)))
print("child: at work", flush=True)
time.sleep(60)
'''])
signal.signal(signal.SIGINT, signal.SIG_IGN)
child.wait()
print("ERROR: failed to reproduce 'train@ads'", flush=True)
sys.exit(1)
"""
DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("deaf: at work", flush=True)
time.sleep(60)
"""
ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "print('orphan: at work', flush=True); import time; time.sleep(60)"])
"""

Fake = Callable[[str], None]


@pytest.fixture
def paths(tmp_path: Path, project: Path, tiny_params: Params) -> Iterator[Paths]:
    (tmp_path / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    paths = Paths(tiny_params.study, tmp_path)
    yield paths
    left = active(paths)
    if left is not None:
        os.killpg(left.pid, signal.SIGKILL)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a program in DVC's place."""

    def put(code: str) -> None:
        monkeypatch.setattr(launch, "repro_command", lambda targets, force: [sys.executable, "-c", code, *targets])

    return put


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def says(launched: Launched, text: str) -> bool:
    return text in launched.log.read_text()


def group_members(group: int) -> list[str]:
    """Running processes of the group, as `ps` knows them."""
    if shutil.which("ps") is None:
        pytest.skip("needs ps to count processes independently")
    listing = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [pid for pgid, stat, pid in rows if int(pgid) == group and "Z" not in stat]


def test_a_launch_that_ends_well_has_no_problem(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import sys; print('targets', sys.argv[1:])")
    launched = launch.launch(tiny_params, paths, ["ads", "report"])
    until(lambda: not launched.running)
    assert launched.problem is None
    assert launched.log.read_text().splitlines() == [
        "$ ssmlab repro ads report",
        "targets ['train@ads', 'attack@ads', 'probe@ads', 'report']",
    ]
    assert active(paths) is None


def test_a_launch_is_detached_and_found_again(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(FAMILY)
    launched = launch.launch(tiny_params, paths, ["ads"])
    until(lambda: says(launched, "at work"))
    assert os.getsid(launched.pid) == os.getpgid(launched.pid) == launched.pid != os.getsid(0)
    found = active(paths)
    assert found == launched and found is not None and found.process is None
    with pytest.raises(UserError, match=r"repro of ads is already running"):
        launch.launch(tiny_params, paths, [])
    stop_launch(found)
    assert not launched.running


def test_a_launch_outlives_whoever_launched_it(paths: Paths, project: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ssmlab.project import dvc_files, launch, pipeline
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
launch.repro_command = lambda targets, force: [sys.executable, "-c", {DEAF!r}]
params = load_params(Path({str(project / "studies" / "smoke.yaml")!r}))
launch.launch(params, Paths("smoke", Path({str(paths.root)!r})), [])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, timeout=60)
    found = active(paths)
    assert found is not None
    until(lambda: says(found, "at work"))
    stop_launch(found, patience=0.2)
    assert group_members(found.pid) == []
    assert active(paths) is None


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


def test_a_foreground_launch_writes_to_this_terminal_and_returns_the_exit_code(
    tiny_params: Params, paths: Paths, fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    fake("import sys; print('on this terminal', flush=True); sys.exit(7)")
    assert launch.foreground(tiny_params, paths, ["report"]) == 7
    assert capfd.readouterr().out == "on this terminal\n"


def test_an_interrupted_foreground_leaves_nothing(
    tiny_params: Params, paths: Paths, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("import time; time.sleep(60)")
    seen: list[int] = []

    def interrupt(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        seen.append(self.pid)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(subprocess.Popen, "wait", interrupt)
        launch.foreground(tiny_params, paths, [])
    assert group_members(seen[0]) == []


def test_every_run_has_its_stages_in_the_order_of_dvc_yaml(tiny_params: Params, paths: Paths) -> None:
    runs = ["ssm", "attention", "ads"]
    assert pipeline.stages_of(tiny_params, paths.root) == [
        "prepare",
        *(f"train@{run}" for run in runs),
        *(f"attack@{run}" for run in runs),
        *(f"probe@{run}" for run in runs),
        "analyze",
        "report",
    ]


def test_a_foreach_over_a_list_or_a_mapping_gives_its_items() -> None:
    assert pipeline.instances("s", {"foreach": ["a", "b"], "do": {}}, ["x"]) == ["s@a", "s@b"]
    assert pipeline.instances("s", {"foreach": {"a": 1}, "do": {}}, ["x"]) == ["s@a"]


def test_a_run_stands_for_its_training_and_its_attack(tiny_params: Params, paths: Paths) -> None:
    def resolve(*targets: str) -> tuple[str, ...]:
        return pipeline.resolve(targets, tiny_params, paths.root)

    assert resolve() == ()
    assert resolve("ads", "train@ads", "train", "report") == ("train@ads", "attack@ads", "probe@ads", "train", "report")
    with pytest.raises(UserError, match=r"no run, group or stage 'adz' \(did you mean 'ads'\?\)"):
        resolve("adz")


def test_a_group_of_seeds_stands_for_its_runs(project: Path) -> None:
    params = load_params(project / "params.yaml")
    named = pipeline.resolve(["ads"], params, project)
    assert named == tuple(f"{stage}@ads-s{seed}" for seed in (0, 1, 2) for stage in ("train", "attack", "probe"))


def test_without_stages_in_dvc_yaml_nothing_is_launched(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        launch.launch(tiny_params, Paths("smoke", tmp_path), [])
    (tmp_path / "dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(UserError, match="has no stages"):
        pipeline.stages_of(tiny_params, tmp_path)


def test_a_launch_of_a_study_that_is_no_longer_in_params_yaml_is_refused(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    (paths.root / "params.yaml").write_text("study: mnist5k")
    with pytest.raises(UserError, match="its study is not smoke any more, but mnist5k; start again"):
        launch.launch(tiny_params, paths, [])
    assert active(paths) is None


def test_a_program_that_cannot_be_started_is_named_and_not_the_log(
    tiny_params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(paths.root / "no-python")
    monkeypatch.setattr(launch, "repro_command", lambda targets, force: [missing])
    with pytest.raises(UserError, match=r"no-python: No such file or directory; dvc was not started"):
        launch.launch(tiny_params, paths, [])


def test_a_grid_in_params_yaml_is_refused(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    """DVC would only say that it could not find `runs`."""
    (paths.root / "params.yaml").write_text("grid: {seeds: [0]}")
    with pytest.raises(UserError, match=r"params\.yaml: grid.*ssmlab use NAME"):
        launch.launch(tiny_params, paths, [])


def test_attacks_that_the_data_do_not_allow_are_refused_before_any_training(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    fake("")
    raw = tiny_params.plain()
    raw["attack"]["attacks"]["fgsm"]["images"] = 5000
    write_data(paths.prepared, data_summary())
    with pytest.raises(UserError, match=r"attack.attacks.fgsm: 5000 images are requested, but there are 100"):
        launch.foreground(Params.model_validate(raw), paths, [])
    paths.prepared.write_bytes(b"damaged")
    assert launch.foreground(tiny_params, paths, []) == 0


def test_stage_commands_find_this_environment(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import os; print(os.environ['PATH'].split(os.pathsep)[0]); print(os.getcwd())")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    assert LogFollower(launched.log).poll()[1:] == [str(Path(sys.executable).parent), str(paths.root.resolve())]


def test_dvc_is_run_by_the_python_that_runs_now() -> None:
    assert dvc_command.repro_command(("train@ads",), True) == [
        sys.executable,
        "-m",
        "dvc",
        "repro",
        "--force",
        "train@ads",
    ]


def test_stages_run_under_the_python_that_launched_them_also_where_it_is_not_called_python(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's /usr/bin has python3 and no python."""
    only_python3 = tmp_path / "bin" / "python3"
    only_python3.parent.mkdir()
    only_python3.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(only_python3))
    called = subprocess.run(
        ["python", "-c", "import sys; print(sys.orig_argv[0])"],
        env=dvc_command.environment(paths.root),
        text=True,
        capture_output=True,
        check=True,
    )
    assert called.stdout.strip() == str(only_python3)


def test_only_one_of_three_simultaneous_launches_starts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    started: list[Launched] = []
    refused: list[UserError] = []

    def launch_one() -> None:
        try:
            started.append(launch.launch(tiny_params, paths, []))
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=launch_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert len(refused) == 2 and all("already running" in str(error) for error in refused)
    stop_launch(started[0], patience=0.1)


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


def test_a_damaged_lock_file_is_repaired_before_dvc_starts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    whole = "schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    outs:\n    - path: data/smoke.safetensors\n"
    whole += "      md5: 0a\n      size: 12\n"
    lock = paths.root / "dvc.lock"
    lock.write_text(whole)
    fake("print(open('dvc.lock').read())")
    assert launch.foreground(tiny_params, paths, []) == 0
    lock.write_text("")
    (paths.root / ".dvc" / "tmp").mkdir(parents=True)
    (paths.root / ".dvc" / "tmp" / "rwlock").write_text("")
    notes: list[Event] = []
    assert launch.foreground(tiny_params, paths, [], tell=notes.append) == 0
    assert lock.read_text() == whole
    assert [isinstance(note, Note) and note.warning for note in notes] == [True, True]


def test_another_dvc_command_is_waited_for_with_a_message_and_a_limit(
    tiny_params: Params, paths: Paths, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("")
    busy = ["`dvc commit` (process 4711)"] * 2
    monkeypatch.setattr(launch, "dvc_at_work", lambda root: busy.pop() if busy else None)
    notes: list[Event] = []
    assert launch.foreground(tiny_params, paths, [], tell=notes.append, wait=60.0) == 0
    assert len(notes) == 1 and "4711" in str(notes[0]) and "60 s" in str(notes[0])
    monkeypatch.setattr(launch, "dvc_at_work", lambda root: "`dvc commit` (process 4711)")
    with pytest.raises(UserError, match=r"4711.*after 0 s|4711.*still running"):
        launch.foreground(tiny_params, paths, [], wait=0.3)
